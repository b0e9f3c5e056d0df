"""The pages of the fleet: a row for each table, and a page for each table. Self-contained, no framework."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache, partial
from typing import Any
from urllib.parse import quote

from jinja2 import Environment

from cdc_platform.fleet import drawings, words
from cdc_platform.fleet.figures import UNPROVEN, TableFigures
from cdc_platform.fleet.heat_map import heat_map
from cdc_platform.fleet.samples import wrongs
from cdc_platform.fleet.table_history import TOLD_RUNS, TableHistory
from cdc_platform.reconcile.pages import environment
from cdc_platform.reconcile.report_segments import segment_map
from cdc_platform.words import counted

HOME = "index.html"
_DRAWN = 60
_LISTED_RUNS = 30
_VERDICTS = ("DIFFERENT", "ERROR", "UNREADABLE", "UNVERIFIED", "IN_FLIGHT", UNPROVEN, "MATCH")


@dataclass(frozen=True, slots=True)
class Fleet:
    """All tables, the worst first; ``captured`` is, by source, how far capture is, where it can be asked."""

    tables: Sequence[TableFigures]
    made_at: datetime
    captured: Mapping[str, str] = field(default_factory=dict)

    @property
    def verdicts(self) -> dict[str, int]:
        """How many tables have which verdict, the worst first."""
        counts = Counter(one.verdict_text for one in self.tables)
        return {verdict: counts[verdict] for verdict in _VERDICTS if counts[verdict]}

    @property
    def oldest(self) -> TableFigures | None:
        """The table whose oldest proof is the oldest of all."""
        proven = [one for one in self.tables if one.oldest_proof is not None]
        return min(proven, key=lambda one: one.oldest_proof or self.made_at, default=None)

    @property
    def rows_proven(self) -> float | None:
        """The share of the rows compared by the newest whole runs that they proved."""
        compared = sum(one.whole.compared for one in self.tables if one.whole)
        matched = sum(one.whole.matched for one in self.tables if one.whole)
        return matched / compared if compared else None

    @property
    def held(self) -> int:
        """How many tables have merges that main does not show yet."""
        return sum(bool(p and p.pending) for p in (one.standing.publication for one in self.tables))


def table_path(source: str, table_id: str) -> str:
    """Return where a table's page lies beside the fleet's."""
    return f"{source}/{table_id}.html"


def window_path(table_id: str, window: str) -> str:
    """Return where a run's report lies beside a table's page."""
    return f"{table_id}/{window.replace(':', '_')}.html"


def render_fleet(fleet: Fleet, *, linked: bool = True) -> str:
    """Return the page of all tables; ``linked``: each has a page beside it."""
    made = _environment(fleet.made_at)
    script = made.get_template("fleet.js.j2").render()
    links = {(t.source, t.table_id): quote(table_path(t.source, t.table_id)) for t in fleet.tables if linked}
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = made.get_template("fleet.html.j2")
    return page.render(fleet=fleet, links=links, script=script, script_hash=f"sha256-{digest}")


def render_table(
    fleet: Fleet, table: TableFigures, history: TableHistory, reports: Mapping[str, str], *, hourly: bool
) -> str:
    """Return a table's page; ``reports`` are links to reports by window."""
    certificate = history.certificate
    return (
        _environment(fleet.made_at)
        .get_template("table.html.j2")
        .render(
            fleet=fleet,
            table=table,
            home=f"../{HOME}",
            windows_sentence=words.windows_sentence(table),
            whole_sentence=words.whole_sentence(table, certificate),
            export_sentence=words.export_sentence(table, fleet.made_at),
            map=heat_map(table.windows, table.verdicts, reports, hourly=hourly),
            segments=segment_map(certificate) if certificate and table.whole else None,
            reports=reports,
            wrongs=wrongs(table, history),
            more_wrong=len(history.wrong[TOLD_RUNS:]),
            runs=history.runs[:_LISTED_RUNS],
            runs_total=len(history.runs),
            bars=drawings.run_bars([_bar(run) for run in reversed(history.runs[:_DRAWN])]),
            history=history,
            unchecked=_unchecked(table, history),
        )
    )


def _bar(run: Mapping[str, Any]) -> tuple[datetime, str, int, str]:
    number = run["different"]
    title = f"{run['started_at']:%Y-%m-%d %H:%M} {run['window']}: {run['verdict']}, {number:,} differ"
    return run["started_at"], run["verdict"], number, title


def _unchecked(table: TableFigures, history: TableHistory) -> list[str]:
    """Return what no verdict of the table speaks of, in sentences."""
    said = []
    if never := table.never_compared:
        said.append(
            f"{counted(len(never), 'window')} with files were never compared, the newest {never[-1]}."
        )
    if table.whole is None:
        said.append("Rows that no file of a compared window names: the table was never compared as a whole.")
    else:
        said += [str(text) for text in (history.certificate or {}).get("not_covered", ())]
    open_ = sum(
        one["verdict"] in ("UNVERIFIED", "ERROR") for one in (history.certificate or {}).get("segments", ())
    )
    if open_:
        said.append(f"{counted(open_, 'segment')} of the key were not decided by the newest whole run.")
    left_out: dict[str, str] = {}
    for rows in history.comparisons.values():
        for row in rows:
            left_out |= {one["column"]: one["reason"] for one in json.loads(row["excluded"] or "[]")}
    said += [f"Column {column} is left out: {reason}." for column, reason in sorted(left_out.items())]
    if table.standing.pending_files:
        said.append(f"{counted(table.standing.pending_files, 'file')} accepted and not merged yet.")
    if table.quarantined:
        said.append(f"What waits in quarantine: {table.quarantined:,} files and rows.")
    return list(dict.fromkeys(said))


@lru_cache(maxsize=1)
def _environment(now: datetime) -> Environment:
    """Return the environment of pages made ``now``; once for all of them, for it compiles the templates."""
    made = environment("cdc_platform.fleet").overlay()
    made.filters = {
        **made.filters,
        "duration": words.duration,
        "percent": words.percent,
        "ago": partial(words.ago, now=now),
        "short": drawings.short,
        "sparkline": drawings.sparkline,
        "donut": drawings.donut,
    }
    return made
