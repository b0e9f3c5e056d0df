"""A step that fails gives a reason; one that is interrupted ends, whatever the engine makes of it."""

from __future__ import annotations

import pytest

from cdc_platform.errors import SourceUnavailable
from cdc_platform.reconcile.guarded import Failed, guarded


def test_an_interruption_during_a_query_ends_the_step_as_an_interruption() -> None:
    def step() -> None:
        # what DuckDB does when a signal comes during a query
        raise RuntimeError("Query interrupted") from KeyboardInterrupt()

    with pytest.raises(KeyboardInterrupt):
        guarded(step)


def test_an_interruption_in_other_words_is_one_as_well() -> None:
    def step() -> None:
        try:
            raise RuntimeError("Query interrupted") from KeyboardInterrupt()
        except RuntimeError as error:
            raise SourceUnavailable("cannot read it") from error

    with pytest.raises(KeyboardInterrupt):
        guarded(step)


def test_what_fails_is_a_reason() -> None:
    def step() -> None:
        raise SourceUnavailable("cannot read it")

    assert Failed("cannot read it") == guarded(step)


def test_what_nobody_foresaw_is_a_reason_with_its_place() -> None:
    found = guarded(lambda: 1 // 0)

    assert isinstance(found, Failed)
    assert "unexpected ZeroDivisionError" in found.reason
    assert "test_guarded.py" in found.reason
