"""Keeping base tables healthy: compaction, snapshot expiry, orphan clean-up, each with a dry run."""

from __future__ import annotations

from cdc_platform.lake.maintenance.run import (
    MaintenanceResult,
    Step,
    after_merge,
    maintain,
    maintain_appended,
    policy_of,
)

__all__ = ["MaintenanceResult", "Step", "after_merge", "maintain", "maintain_appended", "policy_of"]
