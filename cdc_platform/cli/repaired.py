"""How ``cdc repair`` shows plans and what became of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cdc_platform.cli.output import plain, print_table, stdout
from cdc_platform.reconcile.scopes import WHOLE
from cdc_platform.words import counted

if TYPE_CHECKING:
    from cdc_platform.repair.record import Repair

_VALUES_SHOWN = 6
_COUNTED = ("insert", "update", "delete")


def repair_json(repair: Repair) -> dict[str, Any]:
    """Return a repair for a machine."""
    told: dict[str, Any] = plain(repair)
    return {**told, "keys": repair.keys, "refusals": list(repair.refusals)}


def print_plan(repair: Repair) -> None:
    """Print what a repair would do, and what speaks against it."""
    what = f"what run {repair.run_id} found" if repair.window in WHOLE else f"window {repair.window}"
    _say(f"repair {repair.id} of {repair.source}.{repair.table_id}, {what}", style="bold")
    seen = f"source read at {repair.source_position or '–'}, base snapshot {repair.snapshot_id}"
    _say(f"  {repair.compared:,} keys compared: {seen}")
    if not repair.keys:
        _say("  nothing to repair: no key differs for certain")
    else:
        ops = ", ".join(_of(count, op) for op, count in repair.ops.items() if count)
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in repair.kinds.items())
        _say(f"  {counted(repair.keys, 'row')}: {ops} ({kinds} in base)")
    _counts("columns that change", repair.columns_changed)
    _counts("rows of base by partition", repair.partitions)
    if repair.files:
        _say(f"  data files that hold them: {repair.files:,}")
    _counts("left out", repair.left_out)
    if repair.excluded:
        _say(f"  not compared: {', '.join(repair.excluded)}")
    if repair.preview:
        rows = [
            [one["kind"], one["op"], _row(one["key"]), _row(one["before"]), _row(one["after"])]
            for one in repair.preview
        ]
        print_table("", ["in base", "op", "key", "before", "after"], rows)
    if repair.keys:
        guards = [[one.name, "holds" if one.passed else "REFUSES", one.told] for one in repair.guards]
        print_table("", ["guard", "", ""], guards)


def print_outcome(repair: Repair) -> None:
    """Print what a repair did."""
    if repair.failure:
        _say(f"repair {repair.id}: {repair.failure}")
    if repair.approval and repair.approval.dropped:
        _say(f"{repair.approval.dropped:,} keys of the plan were equal by now, or in flight, and left alone")
    if repair.applied is not None:
        told = repair.applied.counts.items()
        counts = ", ".join(_of(count, _singular(name)) for name, count in told)
        _say(f"applied in snapshot {repair.applied.snapshot_id}: {counts or 'by another merge'}")
    if repair.verified is not None:
        _say(f"verified: {repair.verified.verdict} ({repair.verified.reason})")
    if repair.undo is not None:
        left = f"; {repair.undo.left:,} keys changed since and were left alone" if repair.undo.left else ""
        _say(f"undone by {repair.undo.method}: {repair.undo.keys:,} keys{left}")
    elif repair.applied is not None:
        _say(f"to take it back: cdc repair {repair.source}.{repair.table_id} --undo {repair.id}")


def print_list(repairs: Sequence[Repair]) -> None:
    """Print repairs one a line, the newest last."""
    rows = [
        [
            one.id,
            f"{one.source}.{one.table_id}",
            one.window,
            one.state.value,
            one.verified.verdict if one.verified else None,
            one.keys,
            one.by,
            one.failure or "; ".join(one.refusals) or None,
        ]
        for one in repairs
    ]
    print_table("", ["repair", "table", "window", "state", "verdict", "keys", "by", "remark"], rows)


def _of(count: int, what: str) -> str:
    return counted(count, what) if what in _COUNTED else f"{count:,} {what}"


def _singular(name: str) -> str:
    one = name.removesuffix("s")
    return one if one in _COUNTED else name.replace("_", " ")


def _counts(what: str, counts: Mapping[str, int]) -> None:
    if counts:
        _say(f"  {what}: {', '.join(f'{name} {count:,}' for name, count in counts.items())}")


def _row(values: Mapping[str, Any] | None) -> str:
    if values is None:
        return "no row"
    shown = [
        f"{name}={'NULL' if value is None else value}" for name, value in list(values.items())[:_VALUES_SHOWN]
    ]
    more = len(values) - len(shown)
    return " ".join([*shown, *([f"(+{more})"] if more > 0 else [])])


def _say(text: str, style: str | None = None) -> None:
    stdout().print(text, highlight=False, markup=False, style=style)
