"""The maintenance of the result tables: every run adds a small file to each of them."""

from __future__ import annotations

from collections.abc import Callable, Collection

from cdc_platform.lake.catalog import Lake
from cdc_platform.lake.maintenance import MaintenanceResult, Step, maintain_appended
from cdc_platform.reconcile.result_tables import RESULT_TABLES
from cdc_platform.reconcile.results import NAMESPACE

__all__ = ["NAMESPACE", "RESULT_TABLES", "maintain_results"]


def maintain_results(
    lake: Lake,
    name: str,
    steps: Collection[Step] = tuple(Step),
    *,
    dry_run: bool = False,
    force: bool = False,
    note: Callable[[str], None] = lambda _: None,
) -> MaintenanceResult | None:
    """Compact, expire and clean one result table by the policy of all tables; None where nobody wrote it yet.

    Raises what :func:`maintain` does.
    """
    identifier = (NAMESPACE, RESULT_TABLES[name].name)
    return maintain_appended(lake, identifier, steps, dry_run=dry_run, force=force, note=note)
