"""How a whole table is compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from cdc_platform.reconcile.budget import Budget
from cdc_platform.reconcile.digest import Salt, new_salt
from cdc_platform.reconcile.keys_and_versions import KEYS_METHOD
from cdc_platform.reconcile.keys_and_versions import METHOD as VERSIONS_METHOD
from cdc_platform.reconcile.recent_runs import OF_SOURCE
from cdc_platform.reconcile.segments import ROWS_PER_SEGMENT
from cdc_platform.reconcile.sources import SourceReader

METHOD = "every row: digests by segments of the key, then differing keys, then their full rows"
INCREMENTAL_METHOD = (
    "every row at some time: segments whose turn it is by digests, and of the others every key changed since "
    "their proof, row by row"
)


@dataclass(frozen=True, slots=True)
class FullOptions:
    """How a whole table is compared. ``reader`` stands for the source database when it is given."""

    resume: bool = False
    budget: Budget = field(default_factory=Budget)
    reader: SourceReader | None = None
    origin: str = OF_SOURCE
    #: Only keys and, where it is named, the column that tells a row's version.
    keys_only: bool = False
    version_column: str | None = None
    #: Only what may have changed since it was proven, and what was proven longest ago.
    incremental: bool = False
    #: Within which time every segment is read again; None: what ``cdc.yaml`` says, or the default.
    verify_within: timedelta | None = None
    rows_per_segment: int = ROWS_PER_SEGMENT
    salt: Salt = field(default_factory=new_salt)
    tell: Callable[[str], None] = lambda _: None

    @property
    def method(self) -> str:
        """What is compared and how, in words."""
        if self.incremental:
            return INCREMENTAL_METHOD
        if self.keys_only:
            return VERSIONS_METHOD if self.version_column else KEYS_METHOD
        return METHOD
