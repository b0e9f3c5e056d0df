"""Taking in: list what DMS left, give every new file its window and generation, record it.

Idempotent, and safe for any number of callers at once: what is recorded is a set of (key, ETag) that only
grows. Which files are new is told by set difference, never by a watermark of names: a listing without
``full`` merely leaves out change files older than a few days, for the sake of tables with years of them.
But for the first file of a table's first load nothing is opened here, so that taking in stays cheap.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import partial

from cdc_platform.config.model import RawOptions, SourceConfig, TableConfig
from cdc_platform.errors import RawFileError, UnknownRawFileName
from cdc_platform.formats.dms_names import parse_raw_file_name
from cdc_platform.raw.files import AcceptedFile, FileKind, RawFile
from cdc_platform.raw.listed import Listed, by_known_versions, with_written_again
from cdc_platform.raw.load_sets import LoadFile, LoadSets
from cdc_platform.raw.manifests import accept, add_load_files, mark_replaced, read_load_sets, windows_of
from cdc_platform.raw.mended_loads import in_place_of_set_aside, versions_by_key
from cdc_platform.raw.objects import ObjectStore
from cdc_platform.raw.store import RawStore
from cdc_platform.raw.transfer_time import transfer_time
from cdc_platform.raw.window_keys import check_lengths

#: How far before the newest known change file a quick listing begins: late files are found within this.
OVERLAP = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class AcceptedFiles:
    """Files newly accepted into one window of a table."""

    table_id: str
    window: str
    files: tuple[AcceptedFile, ...]


@dataclass(frozen=True, slots=True)
class RefusedFile:
    """A listed file that was not accepted, and why; its etag tells the version."""

    table_id: str
    file: RawFile
    error: RawFileError


@dataclass(frozen=True, slots=True)
class IntakeResult:
    """What one intake found.

    ``reassigned`` are (table id, window) whose files changed their generation or came back.
    """

    accepted: tuple[AcceptedFiles, ...] = ()
    refused: tuple[RefusedFile, ...] = ()
    reassigned: tuple[tuple[str, str], ...] = ()
    listed: int = 0

    @property
    def files(self) -> int:
        """How many files were newly accepted."""
        return sum(len(one.files) for one in self.accepted)

    def windows(self) -> tuple[tuple[str, str], ...]:
        """Return the (table id, window) pairs that have something to merge, oldest window first."""
        pairs = {(one.table_id, one.window) for one in self.accepted} | set(self.reassigned)
        return tuple(sorted(pairs, key=lambda pair: (pair[1], pair[0])))


def take_in(
    source_name: str,
    source: SourceConfig,
    *,
    store_of: Callable[[TableConfig], RawStore],
    objects_of: Callable[[str], ObjectStore],
    tables: Collection[str] | None = None,
    windows: Collection[str] | None = None,
    full: bool = False,
    never_applied: Callable[[str, str, str], bool] = lambda table_id, key, etag: False,
) -> IntakeResult:
    """List the active tables of a source and record what is new.

    ``tables`` (ids) and ``windows`` (keys) narrow what is accepted; ``full`` lists from the beginning.
    ``never_applied`` (table id, key, etag) says that a version was set aside and is not in the base table.
    Raises StorageUnavailable when the raw location cannot be reached.
    """
    parts = [
        _take_in_table(
            _Table(source_name, source, table, objects_of(table.id), partial(never_applied, table.id)),
            store_of(table),
            windows,
            full,
        )
        for table in source.tables
        if table.active and (tables is None or table.id in tables)
    ]
    return IntakeResult(
        tuple(one for part in parts for one in part.accepted),
        tuple(one for part in parts for one in part.refused),
        tuple(one for part in parts for one in part.reassigned),
        sum(part.listed for part in parts),
    )


def discover_tables(store: RawStore) -> tuple[str, ...]:
    """Return the ``schema.table`` names of the folders with a raw file in a raw location."""
    return tuple(
        f"{schema}.{table}"
        for schema in store.children().folders
        for table in store.children(f"{schema}/").folders
        if next(iter(store.list(f"{schema}/{table}/")), None) is not None
    )


@dataclass(frozen=True, slots=True)
class _Table:
    source_name: str
    source: SourceConfig
    config: TableConfig
    objects: ObjectStore
    never_applied: Callable[[str, str], bool]

    @property
    def raw(self) -> RawOptions:
        return self.source.raw_of(self.config)

    @property
    def prefix(self) -> str:
        return f"{self.config.schema_name}/{self.config.table_name}/"


def _take_in_table(
    table: _Table, store: RawStore, windows: Collection[str] | None, full: bool
) -> IntakeResult:
    there = tuple(windows_of(table.objects))
    check_lengths(there, table.source.window, source=table.source_name, table_id=table.config.id)
    start = None if full else _start_of_quick_listing(table, there)
    listed = list(store.list(table.prefix, start_after=start))
    named, refused = _named(table, listed)
    before = read_load_sets(table.objects)
    named = list(by_known_versions(named, before))
    after = add_load_files(table.objects, _load_files(table, store, named, before))
    named, has_more = with_written_again(named, listed, after)
    if has_more:
        after = add_load_files(table.objects, _load_files(table, store, named, after))
    loads = after.generations()
    wanted = [one for one in named if windows is None or table.source.window.key_of(one.file_time) in windows]
    accepted: list[AcceptedFiles] = []
    for window, files in _by_window(table, wanted):
        offered = [_accepted(one, window, after, loads) for one in files]
        new = accept(
            table.objects, table.source_name, table.config.id, window, offered, after, store.is_there
        )
        if new:
            accepted.append(AcceptedFiles(table.config.id, window, new))
            _mark_overwritten(table, store, new, after, window)
    reassigned = tuple(_reassigned(table, before, after))
    return IntakeResult(tuple(accepted), tuple(refused), reassigned, len(listed))


def _start_of_quick_listing(table: _Table, windows: Sequence[str]) -> str | None:
    """Return the key from which change files are listed; LOAD files and folders sort after every date.

    Date folders sort by their own rules, so a source that has them is always listed whole.
    """
    if table.raw.date_partition_delimiter is not None:
        return None
    newest = max(windows, default=None)
    if newest is None:
        return None
    since = table.source.window.bounds(newest)[0] - OVERLAP
    return f"{table.prefix}{since:%Y%m%d}-"


def _named(table: _Table, files: Iterable[RawFile]) -> tuple[list[Listed], list[RefusedFile]]:
    named: list[Listed] = []
    refused: list[RefusedFile] = []
    for file in files:
        try:
            listed = Listed(file, parse_raw_file_name(file.key, table.raw))
            _check_not_before_start(table, listed)
        except RawFileError as error:
            refused.append(RefusedFile(table.config.id, file, error))
        else:
            named.append(listed)
    return named, refused


def _check_not_before_start(table: _Table, listed: Listed) -> None:
    start = table.source.window.start
    if listed.file_time < datetime.combine(start, time(), tzinfo=UTC):
        raise UnknownRawFileName(
            f"the file is of {listed.file_time:%Y-%m-%d %H:%M}, before the first window {start}",
            where=f"{table.source_name}.{table.config.id} {listed.file.key}",
            mend=f"set sources.{table.source_name}.window.start to {listed.file_time:%Y-%m-%d} or earlier, "
            "or move the file away",
        )


def _load_files(
    table: _Table, store: RawStore, named: Iterable[Listed], before: LoadSets
) -> Iterator[LoadFile]:
    versions = versions_by_key(before)
    for one in named:
        if one.name.kind is FileKind.LOAD:
            file, counter = one.file, one.name.counter or 0
            tell = partial(transfer_time, store, table.raw, file, one.name.extension)
            # only the first load set is opened by what its rows say, and its first files say it
            told = tell() if counter == 1 and not before.sets else None
            load = LoadFile(file.last_modified, counter, file.key, one.name.segment, file.etag, told)
            known = versions.get(load.key, ())
            yield in_place_of_set_aside(load, known, never_applied=table.never_applied, transferred_at=tell)


def _by_window(table: _Table, named: Iterable[Listed]) -> Iterator[tuple[str, list[Listed]]]:
    groups: dict[str, list[Listed]] = {}
    for one in named:
        groups.setdefault(table.source.window.key_of(one.file_time), []).append(one)
    yield from sorted(groups.items())


def _accepted(
    one: Listed, window: str, load_sets: LoadSets, loads: Mapping[tuple[str, str], int]
) -> AcceptedFile:
    generation = loads.get((one.file.key, one.file.etag))
    if generation is None:
        generation = load_sets.generation_of(one.file_time)
    return AcceptedFile(one.file, one.name.kind, one.file_time, window, generation)


def _mark_overwritten(
    table: _Table, store: RawStore, new: Iterable[AcceptedFile], sets: LoadSets, window: str
) -> None:
    """Mark older versions of LOAD files across windows: a later load writes the same names again.

    The older by writing, which is the new one when a slow lister comes with a version read before; but a
    version that was put back is there.
    """
    mine = {one.file.key: one.file for one in new if one.kind is FileKind.LOAD}
    files = [file for load_set in sets.sets for file in load_set.files if file.key in mine]
    for key, etag, written_at in [(file.key, *version) for file in files for version in file.versions]:
        here, other = mine[key], table.source.window.key_of(written_at)
        if here.etag == etag or other == window:
            continue
        is_older = written_at <= here.last_modified or store.is_there(here)
        where, version = (other, (key, etag)) if is_older else (window, (here.key, here.etag))
        mark_replaced(table.objects, table.source_name, table.config.id, where, {version})


def _reassigned(table: _Table, before: LoadSets, after: LoadSets) -> Iterator[tuple[str, str]]:
    """Yield the windows in which change files may have moved to another generation."""
    if before.openings() == after.openings():
        return
    for window in windows_of(table.objects):
        begin, end = table.source.window.bounds(window)
        probes = [begin, end, *(_moment(opening) for opening in after.openings())]
        inside = [moment for moment in probes if begin <= moment <= end]
        if any(before.generation_of(moment) != after.generation_of(moment) for moment in inside):
            yield table.config.id, window


def _moment(generation: int) -> datetime:
    return datetime.fromtimestamp(generation / 1000, UTC)
