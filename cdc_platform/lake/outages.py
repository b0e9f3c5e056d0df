"""What catalogs, file systems and engines raise when something is down, as errors of ours.

A merge changes nothing before its commit, and the commit knows its own outcomes, so whatever is raised on
the way may be met by running the merge again.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
from pyiceberg.exceptions import (
    AuthorizationExpiredError,
    ServerError,
    ServiceUnavailableError,
    UnauthorizedError,
)

from cdc_platform.errors import CdcError, FileMissing, MergeError, StorageUnavailable
from cdc_platform.lake.damage import damage, mend_of

_RUN_AGAIN = "see that it can be reached and has space, then run again: nothing has changed, nothing is lost"


@contextmanager
def outages(where: str) -> Iterator[None]:
    """Raise StorageUnavailable (retryable) for an outage of the catalog, the warehouse or the disk.

    FileMissing, a kind of it, when a file of the table is not there. MergeError when the memory limit is too
    low or a file of the table is damaged; any other error passes.
    """
    try:
        yield
    except duckdb.OutOfMemoryException as e:
        raise MergeError(
            f"the memory limit is too low: {_first_line(e)}",
            where=where,
            mend="raise `engine.memory_limit` in cdc.yaml",
        ) from e
    except Exception as e:
        damaged = None if isinstance(e, CdcError) else damage(e, where)
        if damaged is not None:
            raise damaged from e
        if isinstance(e, OSError) and e.errno == errno.ENAMETOOLONG:
            raise MergeError(
                f"a path is longer than the file system takes: {_first_line(e)}",
                where=where,
                mend="give the table a shorter `id`, or the warehouse a shorter path, in cdc.yaml",
            ) from e
        if not is_outage(e):
            raise
        if _is_missing(e):
            what = f"a file of the table is not there ({_first_line(e)})"
            raise FileMissing(
                what, where=where, mend=f"run again; if it stays away, {mend_of('.metadata.json' in str(e))}"
            ) from e
        what = f"the catalog or the warehouse did not answer ({type(e).__name__}: {_first_line(e)})"
        raise StorageUnavailable(what, where=where, mend=_RUN_AGAIN) from e


def is_outage(error: Exception) -> bool:
    """Return whether the error tells of something down or out of reach, rather than wrong."""
    kinds = (
        *_ALWAYS,
        *_of_loaded("sqlalchemy.exc", "OperationalError", "TimeoutError"),
        *_of_loaded("botocore.exceptions", "ClientError", "BotoCoreError"),
    )
    return isinstance(error, kinds)


_ALWAYS: tuple[type[Exception], ...] = (
    OSError,
    duckdb.IOException,
    duckdb.HTTPException,
    duckdb.ConnectionException,
    ServerError,
    ServiceUnavailableError,
    UnauthorizedError,
    AuthorizationExpiredError,
)


def _is_missing(error: Exception) -> bool:
    return isinstance(error, FileNotFoundError) or "No files found that match" in str(error)


def _of_loaded(module: str, *names: str) -> tuple[type[Exception], ...]:
    """Return classes of a library that need only be known if something has loaded it."""
    loaded = sys.modules.get(module)
    return tuple(getattr(loaded, name) for name in names) if loaded is not None else ()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0]
