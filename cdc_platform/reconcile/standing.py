"""Where each accepted file stands on its way to base, as of one pinned snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from cdc_platform.lake.applied import AppliedRecord
from cdc_platform.lake.quarantine import WAITING, QuarantineItem, QuarantineState
from cdc_platform.raw.files import AcceptedFile
from cdc_platform.raw.manifests import WindowManifest
from cdc_platform.reconcile.window_events import Events, Standing, WindowEvents, WindowFile

Version = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Quarantined:
    """The quarantine of a table by file version: whole files by state, rows held and rows given up."""

    files: Mapping[Version, QuarantineState]
    held_rows: Mapping[Version, frozenset[int]]
    discarded_rows: Mapping[Version, frozenset[int]]
    #: Whole files that wait, by the window they were set aside in; also those never accepted for their names.
    waiting: Mapping[str, frozenset[Version]]
    #: Whole files that a person gave up, likewise.
    discarded: Mapping[str, frozenset[Version]]


def quarantined(items: Iterable[QuarantineItem]) -> Quarantined:
    """Sort a table's quarantine by file version."""
    files: dict[Version, QuarantineState] = {}
    held: dict[Version, set[int]] = {}
    discarded: dict[Version, set[int]] = {}
    waiting: dict[str, set[Version]] = {}
    given_up: dict[str, set[Version]] = {}
    for item in items:
        version = (item.key, item.etag)
        if item.row is None:
            files[version] = item.state
            if item.state in WAITING:
                waiting.setdefault(item.window, set()).add(version)
            elif item.state is QuarantineState.DISCARDED:
                given_up.setdefault(item.window, set()).add(version)
        # a released row waits for the next merge just as an open one waits for a person
        elif item.state in WAITING:
            held.setdefault(version, set()).add(item.row)
        elif item.state is QuarantineState.DISCARDED:
            discarded.setdefault(version, set()).add(item.row)
    return Quarantined(
        files,
        {version: frozenset(rows) for version, rows in held.items()},
        {version: frozenset(rows) for version, rows in discarded.items()},
        {window: frozenset(versions) for window, versions in waiting.items()},
        {window: frozenset(versions) for window, versions in given_up.items()},
    )


def with_refused_files(
    events: WindowEvents, manifest: WindowManifest, quarantine: Quarantined
) -> WindowEvents:
    """Return the events of a window with the files that were set aside in it and never accepted."""
    accepted = {(file.file.key, file.file.etag) for file in manifest.files}

    def refused(set_aside: Mapping[str, frozenset[Version]]) -> list[str]:
        return sorted(key for key, _ in set_aside.get(manifest.window, frozenset()) - accepted)

    return replace(
        events,
        quarantined_files=(*events.quarantined_files, *refused(quarantine.waiting)),
        discarded_files=(*events.discarded_files, *refused(quarantine.discarded)),
    )


def standing_of(file: AcceptedFile, record: AppliedRecord, quarantine: Quarantined) -> Standing:
    """Return where ``file`` stands. One applied under another generation waits to be applied again."""
    version = (file.file.key, file.file.etag)
    if record.holds(file):
        return Standing.APPLIED
    match quarantine.files.get(version):
        case QuarantineState.OPEN:
            return Standing.QUARANTINED
        case QuarantineState.DISCARDED:
            return Standing.DISCARDED
        case _:
            return Standing.PENDING


def window_files(
    manifest: WindowManifest,
    record: AppliedRecord,
    quarantine: Quarantined,
    open_file: Callable[[AcceptedFile], Events],
) -> list[WindowFile]:
    """Return the files of a window with where they stand.

    A version that a newer file of the same key has overwritten is left out when it was never applied (the
    newer one stands for it) or its generation is superseded; else it stays and opening it fails, which the
    comparison reports.
    """
    files = []
    for file in manifest.files:
        version = (file.file.key, file.file.etag)
        is_settled = version not in record.files or file.generation < record.generation_complete
        if version in manifest.replaced and is_settled:
            continue
        files.append(
            WindowFile(
                accepted=file,
                standing=standing_of(file, record, quarantine),
                open=partial(open_file, file),
                held_rows=quarantine.held_rows.get(version, frozenset()),
                discarded_rows=quarantine.discarded_rows.get(version, frozenset()),
            )
        )
    return files
