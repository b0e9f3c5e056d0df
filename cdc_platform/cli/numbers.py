"""Options that are numbers with a fraction."""

from __future__ import annotations

import math

import typer


def finite(value: float | None) -> float | None:
    """Return the value of an option. Refuses ``nan``, which no bound holds, and infinities."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} bounds nothing: give a number, or leave the option out")
    return value
