"""The ids of runs, in the order of their starts."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

_FORM = "%Y%m%dT%H%M%S%f"


def new_run_id(at: datetime) -> str:
    """Return the id of a run that begins ``at``."""
    return f"{at:{_FORM}}-{secrets.token_hex(3)}"


def begun_at(run_id: str) -> datetime | None:
    """Return when a run began, by its id; None for an id that does not say.

    >>> begun_at("20260301T120000000000-a1b2c3").isoformat()
    '2026-03-01T12:00:00+00:00'
    """
    try:
        return datetime.strptime(run_id.partition("-")[0], _FORM).replace(tzinfo=UTC)
    except ValueError:
        return None
