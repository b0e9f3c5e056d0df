"""The kinds of tables that are interrupted, and what of their merges is rare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


def writing(what: str) -> tuple[str, ...]:
    """Return the points passed when a file is written beside its place and renamed."""
    return f"half of {what}", f"before replace of a {what}", f"after replace of a {what}"


def committing(what: str) -> tuple[str, ...]:
    """Return the points passed by a commit of the table's metadata and nothing else."""
    return (
        f"{what}: half of table metadata",
        f"{what}: before catalog commit_table",
        f"{what}: after catalog commit_table",
    )


@dataclass(frozen=True)
class Shape:
    """One kind of table, and what happens to it."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    #: Every so many rounds (0: never) a full load, a new column, faulty rows and files.
    loads: int = 0
    columns: int = 0
    faults: int = 0
    #: Names of limits that are lowered, see ``histories.afterwards.TUNINGS``.
    tuned: tuple[str, ...] = ()
    #: Points that only merges of this shape pass, and not each: kills are aimed at them until each had one.
    rare: tuple[str, ...] = ()
    #: Every round starts a table of its own.
    is_new_each_round: bool = False
    #: Whether main is held back in most rounds, and let go in others.
    holds: bool = False

    @property
    def is_append(self) -> bool:
        return self.options.get("no_key") == "append"

    @property
    def is_soft(self) -> bool:
        return self.options.get("delete_mode") == "soft"


#: What a merge does first where it finds main the other way than ``publish`` says.
HOLD_BACK = "hold back"
LET_GO = "let go"

KEY = {"merge_key": ("id",)}
SHAPES = (
    Shape("hard", KEY, tuned=("gather tombstones",)),
    Shape("soft", {**KEY, "delete_mode": "soft"}),
    Shape("partitioned", {**KEY, "partition_by": ("region", "bucket(3, id)")}, tuned=("rewrite manifests",)),
    Shape("loaded", KEY, loads=2),
    #: As the last, its load files written as they are read.
    Shape("direct", KEY, loads=2, tuned=("load directly",)),
    Shape("evolving", KEY, columns=2, tuned=("consolidate",)),
    Shape("indexed", KEY, tuned=("index keys",), rare=writing("key index")),
    Shape("faulty", KEY, faults=2, rare=writing("quarantine object")),
    Shape("appended", {"merge_key": (), "no_key": "append"}),
    Shape("new", KEY, is_new_each_round=True),
    Shape("held", KEY, loads=5, holds=True, rare=(*committing(HOLD_BACK), *committing(LET_GO))),
    Shape("held-new", KEY, is_new_each_round=True, holds=True),
)
