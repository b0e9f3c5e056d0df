"""What a rollback would take back for good: files that no merge after it could apply again."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdc_platform.errors import MergeError
from cdc_platform.lake.quarantine import QuarantineState, items_in
from cdc_platform.raw.files import RawFile
from cdc_platform.raw.repairs import is_repair, object_key
from cdc_platform.words import counted

if TYPE_CHECKING:
    from cdc_platform.lake.rollback import RollbackPlan
    from cdc_platform.pipeline import Platform

#: Files that are asked for at once.
_READERS = 8

_BLOCKED = {
    QuarantineState.OPEN: "it waits in quarantine: release it, or discard it and lose its changes",
    QuarantineState.DISCARDED: "it was discarded from quarantine",
}


@dataclass(frozen=True, slots=True)
class LostFile:
    """An applied file that cannot be merged again, and why."""

    key: str
    window: str
    why: str


def lost_files(platform: Platform, plan: RollbackPlan) -> tuple[LostFile, ...]:
    """Return which files of the batches that are undone no merge could apply again.

    Raises StorageUnavailable when the raw location cannot be reached.
    """
    objects = platform.objects(plan.source, plan.table_id)
    accepted = platform.accepted(plan.source, plan.table_id)
    files = {(one.file.key, one.file.etag): one.file for one in accepted.files} if plan.files else {}
    readable = {(one.file.key, one.file.etag) for one in accepted.readable} if plan.files else set()
    blocked = {(one.key, one.etag): _BLOCKED.get(one.state) for one in items_in(objects) if one.row is None}

    def why(version: tuple[str, str]) -> str | None:
        key, _ = version
        if is_repair(key):
            # one that was withdrawn is meant not to come back
            there = version not in readable or objects.get(object_key(key)) is not None
            return None if there else "its object beside the table is gone"
        if not _is_there(platform, plan, files, version):
            return "it is gone from raw, or was written again since"
        return blocked.get(version)

    versions = [(file.key, file.etag) for file in plan.files]
    with ThreadPoolExecutor(_READERS) as readers:
        reasons = list(readers.map(why, versions))
    pairs = zip(plan.files, reasons, strict=True)
    return tuple(LostFile(file.key, file.window, reason) for file, reason in pairs if reason is not None)


def check_nothing_is_lost(where: str, lost: tuple[LostFile, ...]) -> None:
    """Raise MergeError when a rollback would lose what files held."""
    if lost:
        first = lost[0]
        raise MergeError(
            f"{counted(len(lost), 'file')} of what would be undone cannot be merged again, "
            f"first {first.key}: {first.why}",
            where=where,
            mend="put them back as they were, or give --allow-missing and lose what they changed",
        )


def _is_there(
    platform: Platform, plan: RollbackPlan, files: Mapping[tuple[str, str], RawFile], version: tuple[str, str]
) -> bool:
    file = files.get(version)
    return file is not None and platform.raw_store(plan.source, plan.table_id).is_there(file)
