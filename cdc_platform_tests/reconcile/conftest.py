"""Every certificate that any test here has made is held against the schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cdc_platform.reconcile.verdict import Reconciliation
from cdc_platform_tests.reconcile.certificates import hold_against_schema


@pytest.fixture(scope="package", autouse=True)
def certificates_are_of_the_schema() -> Iterator[None]:
    """Raise where an outcome is made whose certificate is not of its kind of run."""
    make = Reconciliation.__init__

    def made(self: Reconciliation, *fields: Any, **more: Any) -> None:
        make(self, *fields, **more)
        # dataclasses.replace gives names alone: a test puts there what an earlier version made
        if fields:
            hold_against_schema(self.certificate)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Reconciliation, "__init__", made)
        yield
