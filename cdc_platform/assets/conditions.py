"""When the daemon materializes an asset by itself.

Three traps decide the shape of these conditions. ``eager()`` looks at the latest window only, so a late file
for an old day would never be merged. "A dependency was updated" is true for one tick only, so an update that
comes while the partition is being made has to be remembered: ``since`` does that, until the next request. And
a request is seen one tick late, where it would wipe out an update of that very tick: hence the reset only
when nothing moved.
"""

from collections.abc import Sequence
from typing import Any

import dagster as dg


def when_dependency_moved() -> dg.AutomationCondition[Any]:
    """True for a partition whose dependencies moved since it was last requested, unless it is in progress."""
    pending = _since_request(dg.AutomationCondition.any_deps_updated())
    return (pending & ~dg.AutomationCondition.in_progress()).with_label("dependency_moved")


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
    pending = _since_request(passed)
    return (pending & ~refused & ~dg.AutomationCondition.in_progress()).with_label("verdict_allows")


def when_all_dependencies_exist() -> dg.AutomationCondition[Any]:
    """As :func:`when_dependency_moved`, but not before every dependency was made once."""
    complete = ~dg.AutomationCondition.any_deps_missing()
    return (when_dependency_moved() & complete).with_label("dependency_moved_and_all_exist")


def _since_request(moved: dg.AutomationCondition[Any]) -> dg.AutomationCondition[Any]:
    """True from when ``moved`` was until the request that follows it."""
    return moved.since(dg.AutomationCondition.newly_requested() & ~moved)
