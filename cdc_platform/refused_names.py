"""What taking in does with the quarantine: refused names go in, and what is no longer there is closed."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from cdc_platform.lake import quarantine
from cdc_platform.raw.files import AcceptedFile, FileKind
from cdc_platform.raw.intake import RefusedFile
from cdc_platform.raw.store import GONE

if TYPE_CHECKING:
    from cdc_platform.pipeline import Platform


def quarantine_name(platform: Platform, source: str, refused: RefusedFile) -> None:
    """Set aside a file whose name says no window."""
    window = platform.source(source).window.key_of(refused.file.last_modified)
    accepted = AcceptedFile(refused.file, FileKind.CHANGES, refused.file.last_modified, window, 0)
    item = quarantine.item_of(accepted, None, reason=refused.error.what, mend=refused.error.mend)
    quarantine.record(platform.objects(source, refused.table_id), [item])


def close_overwritten(platform: Platform, source: str, table_id: str) -> None:
    """Close what waits of file versions that were written again: the new version comes in by itself."""
    objects = platform.objects(source, table_id)
    waiting = [item for item in quarantine.items_in(objects) if item.state in quarantine.WAITING]
    for window in {item.window for item in waiting}:
        replaced = platform.manifest(source, table_id, window).replaced
        mine = [item for item in waiting if item.window == window and (item.key, item.etag) in replaced]
        quarantine.mark_replaced(objects, mine)


def release_found_again(platform: Platform, source: str, table_id: str) -> Iterator[tuple[str, str]]:
    """Release the files that were set aside for being gone and are back; yield (table id, window)."""
    objects = platform.objects(source, table_id)
    for item in quarantine.items_in(objects, quarantine.QuarantineState.OPEN):
        if item.row is not None or item.reason != GONE:
            continue
        files = platform.manifest(source, table_id, item.window).readable
        mine = [one.file for one in files if (one.file.key, one.file.etag) == (item.key, item.etag)]
        if mine and platform.raw_store(source, table_id).is_there(mine[0]):
            quarantine.release(platform.lake, source, table_id, item.id)
            yield table_id, item.window


def close_taken_away(
    platform: Platform, source: str, table_id: str, refused: Collection[RefusedFile]
) -> None:
    """Close what waits of refused names that are not in the raw folder any more as they were."""
    objects = platform.objects(source, table_id)
    there = {(one.file.key, one.file.etag) for one in refused if one.table_id == table_id}
    for item in quarantine.items_in(objects):
        if item.state not in quarantine.WAITING or item.row is not None or (item.key, item.etag) in there:
            continue
        files = platform.manifest(source, table_id, item.window).files
        if all((one.file.key, one.file.etag) != (item.key, item.etag) for one in files):
            quarantine.mark_replaced(objects, [item])


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
