"""When a change of a table's metadata happened: never before what is recorded already.

Iceberg's Java readers (Spark, Trino, Athena) refuse a table whose logs go back by more than a minute, and
clocks do go back: set right, restored with a virtual machine, or of another machine that merges as well.
"""

from __future__ import annotations

import time

from pyiceberg.table.metadata import TableMetadata

from cdc_platform.errors import MergeError

#: How far the logs may go back, for Iceberg's Java library.
_TOLERATED_MS = 60_000


def moment_after(metadata: TableMetadata) -> int:
    """Return the time now in milliseconds since the epoch, or that of the newest change if later."""
    return max(int(time.time() * 1000), _newest(metadata))


def check_clock(metadata: TableMetadata, where: str) -> None:
    """Raise MergeError where a change that pyiceberg dates itself would lie too far before the newest one."""
    behind = _newest(metadata) - int(time.time() * 1000)
    if behind > _TOLERATED_MS:
        raise MergeError(
            f"this machine's clock is {behind / 1000:,.0f} s behind the table's newest change: recorded with "
            "that time, the table could not be read by Spark any more",
            where=where,
            mend="set the clock right, or wait that long",
        )


def _newest(metadata: TableMetadata) -> int:
    logged = metadata.snapshot_log[-1].timestamp_ms if metadata.snapshot_log else 0
    return max(metadata.last_updated_ms, logged)
