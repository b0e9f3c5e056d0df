"""What taking in does with the quarantine: refused names go in, and what is no longer there is closed."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from cdc_platform.lake import quarantine
from cdc_platform.raw.files import AcceptedFile, FileKind
from cdc_platform.raw.intake import IntakeResult, RefusedFile
from cdc_platform.raw.store import GONE
from cdc_platform.raw.versions import is_version

if TYPE_CHECKING:
    from cdc_platform.pipeline import Platform


def quarantine_name(platform: Platform, source: str, refused: RefusedFile) -> None:
    """Set aside a file whose name says no window."""
    window = platform.source(source).window.key_of(refused.file.last_modified)
    accepted = AcceptedFile(refused.file, FileKind.CHANGES, refused.file.last_modified, window, 0)
    item = quarantine.item_of(accepted, None, reason=refused.error.what, mend=refused.error.mend)
    quarantine.record(platform.objects(source, refused.table_id), [replace(item, by_name=True)])


def not_accepted(platform: Platform, source: str, refused: Collection[RefusedFile]) -> Iterator[RefusedFile]:
    """Yield the refused files no manifest has.

    What was accepted stays so whatever names ``cdc.yaml`` allows now: it may be applied, and then a rollback
    has to get it back.
    """
    for table_id in sorted({one.table_id for one in refused}):
        known: dict[str, list[AcceptedFile]] = {}
        for accepted in platform.accepted(source, table_id).readable:
            known.setdefault(accepted.file.key, []).append(accepted)
        for one in refused:
            there = [each.file for each in known.get(one.file.key, ())]
            if one.table_id == table_id and not any(
                is_version(file.etag, file.last_modified, one.file) for file in there
            ):
                yield one


def close_overwritten(platform: Platform, source: str, table_id: str) -> None:
    """Close what waits of file versions that were written again: the new version comes in by itself."""
    objects = platform.objects(source, table_id)
    waiting = [item for item in quarantine.items_in(objects) if item.state in quarantine.WAITING]
    for window in {item.window for item in waiting}:
        replaced = platform.manifest(source, table_id, window).replaced
        mine = [item for item in waiting if item.window == window and (item.key, item.etag) in replaced]
        quarantine.mark_replaced(objects, mine)


def release_found_again(platform: Platform, source: str, table_id: str) -> Iterator[tuple[str, str]]:
    """Release what was set aside because its file was gone, and is back; yield (table id, window)."""
    objects = platform.objects(source, table_id)
    for item in quarantine.items_in(objects, quarantine.QuarantineState.OPEN):
        if item.reason != GONE:
            continue
        files = platform.manifest(source, table_id, item.window).readable
        mine = [one.file for one in files if (one.file.key, one.file.etag) == (item.key, item.etag)]
        if mine and platform.raw_store(source, table_id).is_there(mine[0]):
            quarantine.release(platform.lake, source, table_id, item.id)
            yield table_id, item.window


def close_refused(
    platform: Platform, source: str, table_id: str, result: IntakeResult, *, full: bool
) -> None:
    """Close what waits of names that are refused no more: allowed now, or not in the raw folder any more.

    A listing that is not ``full`` shows of the files that were refused only those it accepted.
    """
    objects = platform.objects(source, table_id)
    refused = {(one.file.key, one.file.etag) for one in result.refused if one.table_id == table_id}
    parts = (one.files for one in result.accepted if one.table_id == table_id)
    accepted = {(each.file.key, each.file.etag) for files in parts for each in files}
    for item in quarantine.items_in(objects):
        version = (item.key, item.etag)
        if item.state not in quarantine.WAITING or item.row is not None or version in refused:
            continue
        if (item.by_name and version in accepted) or (full and _is_by_name(platform, source, table_id, item)):
            quarantine.mark_replaced(objects, [item])


def _is_by_name(platform: Platform, source: str, table_id: str, item: quarantine.QuarantineItem) -> bool:
    files = platform.manifest(source, table_id, item.window).files
    return item.by_name or all((one.file.key, one.file.etag) != (item.key, item.etag) for one in files)


def not_given_up(platform: Platform, source: str, refused: Collection[RefusedFile]) -> Iterator[RefusedFile]:
    """Yield the refused files a person has not discarded."""
    for one in refused:
        objects = platform.objects(source, one.table_id)
        item = quarantine.find(objects, one.file.key, one.file.etag)
        if item is None or item.state is not quarantine.QuarantineState.DISCARDED:
            yield one


def never_applied(platform: Platform, source: str, table_id: str, key: str, etag: str) -> bool:
    """Return whether a version of a file was set aside whole and is no part of the base table."""
    item = quarantine.find(platform.objects(source, table_id), key, etag)
    if item is None or item.state not in (*quarantine.WAITING, quarantine.QuarantineState.DISCARDED):
        return False
    return (key, etag) not in platform.applied(source, table_id).files
