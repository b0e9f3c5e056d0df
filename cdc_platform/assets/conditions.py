"""When the daemon materializes an asset by itself.

Two traps decide the shape of these conditions. ``eager()`` looks at the latest window only, so a late file
for an old day would never be merged. And "a dependency was updated" is true for one tick only, so combined
with "not in progress" an update that comes while the partition is being made would be forgotten; ``since``
keeps it until the next request.
"""

from collections.abc import Sequence
from typing import Any

import dagster as dg


def when_dependency_moved() -> dg.AutomationCondition[Any]:
    """True for a partition whose dependencies moved since it was last requested, unless it is in progress."""
    moved = dg.AutomationCondition.any_deps_updated()
    idle = ~dg.AutomationCondition.in_progress()
    condition = moved.since(dg.AutomationCondition.newly_requested()) & idle
    return condition.with_label("dependency_moved")


def when_verdict_allows(reconciliations: Sequence[dg.AssetKey]) -> dg.AutomationCondition[Any]:
    """True when one of ``reconciliations`` newly passed its blocking check and none of them stands failed.

    It waits for the check, not for the materialization: that is recorded before its verdict.
    """
    watched = dg.AssetSelection.assets(*reconciliations)
    new_verdict = dg.AutomationCondition.newly_updated() & dg.AutomationCondition.check_passed()
    passed = dg.AutomationCondition.any_deps_match(
        dg.AutomationCondition.any_checks_match(new_verdict, blocking_only=True)
    ).allow(watched)
    refused = dg.AutomationCondition.any_deps_match(
        dg.AutomationCondition.any_checks_match(dg.AutomationCondition.check_failed(), blocking_only=True)
    ).allow(watched)
    since_request = passed.since(dg.AutomationCondition.newly_requested())
    return (since_request & ~refused & ~dg.AutomationCondition.in_progress()).with_label("verdict_allows")


def when_all_dependencies_exist() -> dg.AutomationCondition[Any]:
    """As :func:`when_dependency_moved`, but not before every dependency was made once."""
    complete = ~dg.AutomationCondition.any_deps_missing()
    return (when_dependency_moved() & complete).with_label("dependency_moved_and_all_exist")
