"""A task's table mappings: which tables it replicates and how they look at the target."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cdc_platform.errors import LocalServiceError
from cdc_platform.local.engine.rules import (
    AddedColumn,
    BeforeImages,
    RemoveColumn,
    Rename,
    Rule,
    Selection,
    parse_rule,
)


@dataclass(frozen=True, slots=True)
class TableMappings:
    """The rules of a task, in the order of their ids, which is the order they apply in."""

    rules: tuple[Rule, ...]

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> TableMappings:
        """Check the DMS JSON (``{"rules": […]}``).

        Raises LocalServiceError, naming the rule, for what DMS or this engine does not do.
        """
        found = sorted(document.get("rules") or (), key=lambda rule: _order(rule.get("rule-id")))
        rules = tuple(parse_rule(rule) for rule in found)
        if not any(isinstance(rule, Selection) and rule.action != "exclude" for rule in rules):
            raise LocalServiceError(
                "no rule selects a table",
                where="table mappings",
                mend="add a selection rule with rule-action include",
            )
        return cls(rules)

    def selects(self, schema: str, table: str) -> bool:
        """Return whether the table is replicated: some rule includes it and none excludes it."""
        actions = {
            rule.action
            for rule in self.rules
            if isinstance(rule, Selection) and rule.locator.matches(schema, table)
        }
        return bool(actions) and "exclude" not in actions

    def target_of(self, schema: str, table: str) -> tuple[str, str]:
        """Return the schema and table name at the target, which are folder names there."""
        return self._renamed("schema", schema, schema, table), self._renamed("table", table, schema, table)

    def columns_of(self, schema: str, table: str, names: Iterable[str]) -> dict[str, str]:
        """Return the columns that are kept: source name → target name, in source order."""
        kept: dict[str, str] = {}
        for name in names:
            removals = (rule.locator for rule in self.rules if isinstance(rule, RemoveColumn))
            if not any(locator.matches(schema, table, name) for locator in removals):
                kept[name] = self._renamed("column", name, schema, table, name)
        return kept

    def added_to(self, schema: str, table: str) -> tuple[AddedColumn, ...]:
        """Return the columns that add-column rules append to the table, in rule order."""
        return tuple(
            rule
            for rule in self.rules
            if isinstance(rule, AddedColumn) and rule.locator.matches(schema, table)
        )

    def before_images_of(self, schema: str, table: str) -> BeforeImages | None:
        """Return the before-image rule of the table; the last one wins."""
        found = [
            rule
            for rule in self.rules
            if isinstance(rule, BeforeImages) and rule.locator.matches(schema, table)
        ]
        return found[-1] if found else None

    def _renamed(self, target: str, name: str, schema: str, table: str, column: str | None = None) -> str:
        for rule in self.rules:
            if (
                isinstance(rule, Rename)
                and rule.target == target
                and rule.locator.matches(schema, table, column)
            ):
                name = rule.apply(name)
        return name


def _order(rule_id: object) -> tuple[int, str]:
    text = str(rule_id or "")
    return (int(text) if text.isdigit() else 0, text)
