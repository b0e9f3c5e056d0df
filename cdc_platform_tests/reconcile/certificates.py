"""Certificates held against their schema, as a program of somebody else would do it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from cdc_platform.reconcile.certificate_schema import certificate_schema
from cdc_platform.reconcile.scopes import SETTLING, WHOLE


@cache
def _validator(kind: str) -> Draft202012Validator:
    schema = certificate_schema()
    one = {name: rest for name, rest in schema.items() if name != "anyOf"}
    return Draft202012Validator(schema if kind == "any" else {**one, "$ref": f"#/$defs/{kind}"})


def _kind(certificate: Mapping[str, Any]) -> str:
    key = certificate["window"]["key"]
    return {**dict.fromkeys(WHOLE, "WholeCertificate"), SETTLING: "SettlingCertificate"}.get(
        key, "WindowCertificate"
    )


def is_valid(certificate: Mapping[str, Any]) -> bool:
    """Return whether the schema takes a certificate, read again from its text."""
    return _validator("any").is_valid(json.loads(json.dumps(certificate)))


def hold_against_schema(certificate: Mapping[str, Any]) -> None:
    """Raise what is wrong with a certificate as one of its kind of run."""
    wrong = best_match(_validator(_kind(certificate)).iter_errors(json.loads(json.dumps(certificate))))
    if wrong is not None:
        raise wrong
