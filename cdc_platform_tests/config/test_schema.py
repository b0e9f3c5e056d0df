"""The JSON Schema editors use agrees with the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from cdc_platform.config.load import config_schema

SAMPLE = Path(__file__).parents[2] / "cdc.yaml"


def typed() -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load(SAMPLE.read_text())
    data["sources"]["retail"]["window"]["start"] = str(data["sources"]["retail"]["window"]["start"])
    return data


def test_the_schema_is_one_and_accepts_the_repository_s_own_file() -> None:
    jsonschema.Draft202012Validator.check_schema(config_schema())

    jsonschema.validate(typed(), config_schema())


def test_the_schema_refuses_an_unknown_key() -> None:
    data = typed()
    data["sources"]["retail"]["windwo"] = {}

    with pytest.raises(jsonschema.ValidationError, match="windwo"):
        jsonschema.validate(data, config_schema())


def test_a_number_may_be_a_reference_to_the_environment() -> None:
    data = typed()
    data["engine"] = {"threads": "${THREADS:-2}"}

    jsonschema.validate(data, config_schema())


def test_a_number_may_not_be_any_other_text() -> None:
    data = typed()
    data["engine"] = {"threads": "many"}

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, config_schema())


def test_the_folder_of_the_file_is_no_key_of_the_schema() -> None:
    assert "base_folder" not in config_schema()["properties"]
