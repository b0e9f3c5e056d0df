"""Steps of a comparison whose failure is the reason of a verdict, and ends nothing else."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import duckdb
import pyarrow as pa

from cdc_platform.errors import CdcError, redact
from cdc_platform.interruption import let_through

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Failed:
    """Why a step could not be done."""

    reason: str


def guarded(step: Callable[[], _T]) -> _T | Failed:
    """Run ``step``; what it raises becomes a reason, an interruption apart."""
    try:
        return step()
    except CdcError as error:
        let_through(error)
        return Failed(str(error))
    except Exception as error:
        # whatever it is, it must not end the comparison of other tables
        return unexpected(error)


def unexpected(error: Exception) -> Failed:
    """Return what nobody foresaw as the reason of one table's ERROR, with where it came from.

    Raises the interruption it stands for, where it does.
    """
    let_through(error)
    if isinstance(error, duckdb.Error | pa.ArrowException):
        return Failed(redact(f"{type(error).__name__}: {error}"))
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(last.filename).name}:{last.lineno}"
    what = redact(f"{type(error).__name__}: {error}")
    return Failed(f"unexpected {what} ({place}) → a fault of cdc itself: please report it")
