"""Options that are numbers with a fraction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, get_args, get_origin, get_type_hints

import pytest
import typer
from typer.models import OptionInfo

from cdc_platform.cli.app import app
from cdc_platform.cli.numbers import finite
from cdc_platform_tests.cli.conftest import Cdc


def commands(of: typer.Typer) -> Iterator[Callable[..., object]]:
    yield from (one.callback for one in of.registered_commands if one.callback is not None)
    for group in of.registered_groups:
        if group.typer_instance is not None:
            yield from commands(group.typer_instance)


def fractions(command: Callable[..., object]) -> Iterator[tuple[str, OptionInfo]]:
    """Return every option of a command that takes a fraction."""
    for name, hint in get_type_hints(command, include_extras=True).items():
        if get_origin(hint) is Annotated and float in (get_args(hint)[0], *get_args(get_args(hint)[0])):
            yield name, next(one for one in get_args(hint) if isinstance(one, OptionInfo))


def test_every_option_that_is_a_number_refuses_what_is_none() -> None:
    options = {name: option for command in commands(app) for name, option in fractions(command)}

    assert {"max_seconds", "max_cpu_seconds", "queries_per_second", "min_age", "days", "rate"} <= set(options)
    assert {} == {name: one.callback for name, one in options.items() if one.callback is not finite}


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_bound_that_is_no_number_is_refused_before_anything_is_read(cdc: Cdc, value: str) -> None:
    done = cdc("reconcile", "--full", f"--max-seconds={value}")

    assert (2, "") == (done.code, done.out)
    assert "Invalid value for '--max-seconds'" in done.err
