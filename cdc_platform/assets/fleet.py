"""The asset ``reconciliation_fleet``: how far every table is proven, as pages beside the lake and metadata.

It compares nothing: it reads what the verdicts left. It depends on no asset, so that a table whose verdict
stops a run never keeps the page that says so from being made; a schedule makes it every hour.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from cdc_platform.assets.metadata import SHOWN_CHARACTERS, SHOWN_ROWS, table_value, without_none
from cdc_platform.assets.outcome import dagster_outcome
from cdc_platform.resources import PlatformResource

if TYPE_CHECKING:
    from cdc_platform.fleet.figures import TableFigures
    from cdc_platform.fleet.writing import Written

KEY = dg.AssetKey(["reconciliation_fleet"])
#: After the hour's windows were reconciled.
CRON = "50 * * * *"


def fleet_metadata(written: "Written", page: str) -> dict[str, Any]:
    """Return the figures of all tables as the UI plots them, the worst tables, and where the pages are."""
    fleet = written.fleet
    counts = {f"tables_{name.lower().replace(' ', '_')}": n for name, n in fleet.verdicts.items()}
    oldest = fleet.oldest.oldest_proof if fleet.oldest else None
    age = (fleet.made_at - oldest).total_seconds() / 3600 if oldest else None
    # what does not match; all of a small fleet
    rows = [_row(written, one) for one in fleet.tables[:SHOWN_ROWS]]
    share = fleet.rows_proven
    return without_none(
        {
            "report": dg.MetadataValue.path(page),
            "tables": len(fleet.tables),
            # a verdict no table has any more goes back to 0 in the plot
            **dict.fromkeys(("tables_match", "tables_different", "tables_error", "tables_unverified"), 0),
            **counts,
            "confirmed_differences": sum(one.different for one in fleet.tables),
            "keys_in_flight": sum(one.in_flight for one in fleet.tables),
            "quarantined": sum(one.quarantined for one in fleet.tables),
            "tables_held_back": fleet.held,
            "rows_proven_percent": round(100 * share, 2) if share is not None else None,
            "oldest_proof_hours": round(age, 2) if age is not None else None,
            "oldest_proof_of": fleet.oldest.where if fleet.oldest else None,
            "worst_tables": table_value(rows),
            "pages": written.files,
            "bytes": written.size,
        }
    )


def _row(written: "Written", one: "TableFigures") -> Mapping[str, Any]:
    from cdc_platform.fleet.words import ago, percent

    return {
        "table": one.where,
        "verdict": one.verdict_text,
        "windows": f"{one.windows_matched} of {one.windows_total} match",
        "whole table": one.whole_verdict.value if one.whole_verdict else "never compared",
        "an export": one.export.verdict if one.export else "",
        "rows proven": percent(one.rows_proven),
        "oldest proof": ago(one.oldest_proof, written.fleet.made_at),
        "differ": one.different,
        "in flight": one.in_flight,
        "quarantine": one.quarantined,
        "pending files": one.standing.pending_files,
        "error": (one.error or "")[:SHOWN_CHARACTERS],
    }


def build_fleet_definitions() -> dg.Definitions:
    """Return the asset and the schedule that materializes it."""

    @dg.asset(
        key=KEY,
        group_name="reconciliation",
        kinds={"html"},
        description="How far every table is proven equal to its source: pages beside the lake.",
    )
    def reconciliation_fleet(
        context: dg.AssetExecutionContext, platform: PlatformResource
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]  # dagster takes only the bare class
        from cdc_platform.fleet.pages import HOME
        from cdc_platform.fleet.writing import fleet_objects, write_reports

        with dagster_outcome(context):
            opened = platform.open()
            objects = fleet_objects(opened.lake)
            written = write_reports(opened, opened.tables(), objects.put)
        return dg.MaterializeResult(metadata=fleet_metadata(written, objects.url(HOME)))

    schedule = dg.ScheduleDefinition(
        name="reconciliation_fleet_hourly",
        job=dg.define_asset_job(
            "report_reconciliation_fleet",
            selection=dg.AssetSelection.assets(KEY),
            description="Writes the pages that say how far every table is proven.",
        ),
        cron_schedule=CRON,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Writes the report on all tables every hour.",
    )
    return dg.Definitions(assets=[reconciliation_fleet], schedules=[schedule])
