"""Claims about one window of a table, each true or false for a reason that is told.

Every check is a function (platform, source, table id, window) → :class:`CheckOutcome`. A check that could not
look says so as a warning; it never passes for want of evidence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cdc_platform.errors import CdcError, RawFileError, SchemaError
from cdc_platform.lake.quarantine import WAITING, QuarantineItem, items_in
from cdc_platform.raw_counts import OpCounts, count_files, generation_counts

if TYPE_CHECKING:
    from cdc_platform.pipeline import Platform


Finding = Mapping[str, str | int | None]


@dataclass(frozen=True, slots=True)
class CheckOutcome:
    """What a check found. ``is_warning``: it did not pass, but nothing is known to be wrong.

    ``rows`` are the findings one by one, for a person: flat mappings of scalars, all with the same keys.
    """

    passed: bool
    description: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    rows: Sequence[Finding] = ()
    is_warning: bool = False


def files_are_readable(platform: Platform, source: str, table_id: str, window: str) -> CheckOutcome:
    """Whether every accepted file of the window opens as the configured format and every row of it parses."""
    files = platform.manifest(source, table_id, window).readable
    findings: list[Finding] = []
    total = OpCounts()
    for accepted in files:
        try:
            counts = count_files(platform, source, table_id, window, [accepted])
        except (RawFileError, SchemaError) as error:
            findings.append({"file": accepted.file.key, "rejected rows": None, "reason": str(error)})
            continue
        here = counts[accepted.file.key, accepted.file.etag]
        total += here
        if here.rejected:
            reason = f"{here.rejected} of {here.rows + here.rejected} rows do not parse"
            findings.append({"file": accepted.file.key, "rejected rows": here.rejected, "reason": reason})
    seen = {"files": len(files), "bytes": sum(one.file.size for one in files), **total.as_dict()}
    if findings:
        return CheckOutcome(False, f"{len(findings)} of {len(files)} files have faults", seen, findings)
    return CheckOutcome(True, f"all {len(files)} files are readable, {total.rows} rows", seen)


def row_counts_match_replication_statistics(
    platform: Platform, source: str, table_id: str, window: str
) -> CheckOutcome:
    """Whether the raw files hold as many rows of each op as DMS's table statistics say it wrote.

    The statistics are totals of the task, so the totals of the table's newest generation are compared, up to
    now, whichever window the check is shown at. DMS counts a change before it writes it, and may deliver one
    twice: fewer rows than its statistics, and more, are told apart.
    """
    try:
        statistics = platform.table_statistics(source, table_id)
        raw = generation_counts(platform, source, table_id)
    except CdcError as error:
        return CheckOutcome(False, f"not compared: {error.what}", is_warning=True)
    if statistics is None:
        return CheckOutcome(False, "not compared: DMS has no statistics of this table", is_warning=True)
    told = OpCounts(statistics.full_load_rows, statistics.inserts, statistics.updates, statistics.deletes)
    findings: list[Finding] = [
        {"rows": name, "raw files": here, "DMS": there}
        for name, here, there in zip(("loads", "inserts", "updates", "deletes"), raw, told, strict=False)
        if here != there
    ]
    seen = {"raw_rows": raw.rows, "dms_rows": told.rows}
    if not findings:
        return CheckOutcome(True, f"{raw.rows} rows, as many as DMS's statistics say", seen)
    if any(here > there for here, there in zip(raw, told, strict=True)):
        text = "the raw files hold more rows than DMS counted: a file was delivered twice, or it restarted"
    else:
        text = "the raw files hold fewer rows than DMS counted: a file is on its way, or was lost"
    return CheckOutcome(False, text, seen, findings, is_warning=True)


def merge_keys_are_unique(platform: Platform, source: str, table_id: str, window: str) -> CheckOutcome:
    """Whether base holds at most one row a merge key, in the whole table."""
    from cdc_platform.lake import health

    table = platform.table(source, table_id)
    if not table.merge_key:
        return CheckOutcome(True, "the table has no merge key by declaration", {"no_key": str(table.no_key)})
    found = health.merge_keys_are_unique(platform.lake, source, table)
    if not found.is_unique:
        text = f"{found.duplicated_keys} merge keys have more than one row"
        rows = [{name: str(value) for name, value in one.items()} for one in found.sample]
        return CheckOutcome(False, text, {"duplicate_keys": found.duplicated_keys}, rows)
    return CheckOutcome(True, "every merge key has one row", {"duplicate_keys": 0})


def no_rows_quarantined(platform: Platform, source: str, table_id: str, window: str) -> CheckOutcome:
    """Whether no file or row of the window waits in quarantine."""
    waiting = [item for item in _waiting(platform, source, table_id) if item.window == window]
    files = sum(item.row is None for item in waiting)
    counts = {"files": files, "rows": len(waiting) - files}
    if not waiting:
        return CheckOutcome(True, "nothing of this window is in quarantine", counts)
    findings: list[Finding] = [
        {"id": i.id, "file": i.key, "row": i.row, "column": i.column, "reason": i.reason, "mend": i.mend}
        for i in waiting
    ]
    text = f"{files} files and {counts['rows']} rows wait in quarantine; `cdc quarantine list` shows them"
    return CheckOutcome(False, text, counts, findings)


def watermark_is_current(platform: Platform, source: str, table_id: str, window: str) -> CheckOutcome:
    """Whether base has applied every accepted file of the window and of those before it."""
    applied = platform.applied(source, table_id)
    held = {(item.key, item.etag) for item in _waiting(platform, source, table_id) if item.row is None}
    pending = [
        one
        for one in platform.accepted(source, table_id).readable
        if one.window <= window
        if not applied.holds(one) and (one.file.key, one.file.etag) not in held
    ]
    watermark = applied.watermark
    seen: dict[str, Any] = {"pending_files": len(pending), "watermark": watermark and watermark.isoformat()}
    if watermark is not None:
        seen["seconds_behind_now"] = round((datetime.now(UTC) - watermark).total_seconds(), 1)
    if pending:
        findings: list[Finding] = [
            {"file": p.file.key, "window": p.window, "bytes": p.file.size} for p in pending[:100]
        ]
        text = f"{len(pending)} accepted files are not in base yet; materialize their windows"
        return CheckOutcome(False, text, seen, findings)
    at = watermark.isoformat(sep=" ") if watermark else "no change yet"
    return CheckOutcome(True, f"every accepted file is in base; watermark {at}", seen)


def schema_matches_configuration(platform: Platform, source: str, table_id: str, window: str) -> CheckOutcome:
    """Whether base has the key, columns and partition fields that ``cdc.yaml`` declares."""
    from cdc_platform.lake.configured import configured_differences

    table = platform.lake.load(source, table_id)
    if table is None:
        text = "base does not exist yet; merge a window with files first"
        return CheckOutcome(False, text, is_warning=True)
    findings: list[Finding] = [
        {"what": what, "configured": configured, "base": there}
        for what, configured, there in configured_differences(table, platform.table(source, table_id))
    ]
    columns = {"columns": len(table.schema().fields)}
    if findings:
        return CheckOutcome(False, f"base and cdc.yaml disagree in {len(findings)} places", columns, findings)
    return CheckOutcome(True, "base has the key, columns and partitions of cdc.yaml", columns)


def _waiting(platform: Platform, source: str, table_id: str) -> Iterator[QuarantineItem]:
    return (item for item in items_in(platform.objects(source, table_id)) if item.state in WAITING)
