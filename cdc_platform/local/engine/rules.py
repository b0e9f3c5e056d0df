"""One rule of a task's table mappings, checked: what it selects, and what it does there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from cdc_platform.errors import LocalServiceError
from cdc_platform.local.engine.types import ArrowType

RENAMES = (
    "rename",
    "add-prefix",
    "remove-prefix",
    "replace-prefix",
    "add-suffix",
    "remove-suffix",
    "replace-suffix",
    "convert-lowercase",
    "convert-uppercase",
)
HEADERS = (
    "$AR_H_CHANGE_SEQ",
    "$AR_H_STREAM_POSITION",
    "$AR_H_TIMESTAMP",
    "$AR_H_COMMIT_TIMESTAMP",
    "$AR_H_OPERATION",
)
METADATA = ("$AR_M_SOURCE_SCHEMA", "$AR_M_SOURCE_TABLE_NAME")
_LITERAL = re.compile(r"^'((?:[^']|'')*)'$|^(-?\d+(?:\.\d+)?)$")
_TYPES: dict[str, ArrowType] = {
    "string": pa.string(),
    "wstring": pa.string(),
    "clob": pa.string(),
    "nclob": pa.string(),
    "boolean": pa.bool_(),
    "int1": pa.int8(),
    "int2": pa.int16(),
    "int4": pa.int32(),
    "int8": pa.int64(),
    "uint1": pa.uint8(),
    "uint2": pa.uint16(),
    "uint4": pa.uint32(),
    "uint8": pa.uint64(),
    "real4": pa.float32(),
    "real8": pa.float64(),
    "date": pa.date32(),
    "datetime": pa.timestamp("us", tz="UTC"),
}


@dataclass(frozen=True, slots=True)
class Locator:
    """The objects a rule is about; ``%`` stands for any text."""

    schema: str
    table: str
    column: str = "%"

    def matches(self, schema: str, table: str, column: str | None = None) -> bool:
        """Return whether a table, or a column of it, is among them."""
        return (
            _is_like(self.schema, schema)
            and _is_like(self.table, table)
            and (column is None or _is_like(self.column, column))
        )


@dataclass(frozen=True, slots=True)
class Selection:
    """A selection rule."""

    action: str
    locator: Locator


@dataclass(frozen=True, slots=True)
class Rename:
    """A transformation rule that changes names of schemas, tables or columns."""

    target: str
    action: str
    locator: Locator
    value: str = ""
    old_value: str = ""

    def apply(self, name: str) -> str:
        """Return the name the rule makes of ``name``."""
        match self.action:
            case "rename":
                return self.value
            case "add-prefix":
                return self.value + name
            case "add-suffix":
                return name + self.value
            case "remove-prefix":
                return name.removeprefix(self.value)
            case "remove-suffix":
                return name.removesuffix(self.value)
            case "replace-prefix" if name.startswith(self.old_value):
                return self.value + name.removeprefix(self.old_value)
            case "replace-suffix" if name.endswith(self.old_value):
                return name.removesuffix(self.old_value) + self.value
            case "convert-lowercase":
                return name.lower()
            case "convert-uppercase":
                return name.upper()
        return name


@dataclass(frozen=True, slots=True)
class RemoveColumn:
    """A remove-column rule."""

    locator: Locator


@dataclass(frozen=True, slots=True)
class AddedColumn:
    """An add-column rule: a header (``$AR_H_…``), metadata (``$AR_M_…``) or a literal, with its type."""

    locator: Locator
    name: str
    expression: str
    arrow: ArrowType

    @property
    def literal(self) -> str:
        """The text of a literal expression."""
        found = _LITERAL.match(self.expression)
        assert found is not None
        return found[2] if found[1] is None else found[1].replace("''", "'")


@dataclass(frozen=True, slots=True)
class BeforeImages:
    """An add-before-image-columns rule: old values of which columns, under which names."""

    locator: Locator
    prefix: str
    suffix: str
    columns: str  # pk-only | non-lob | all

    def name_of(self, column: str) -> str:
        """Return the name of the before image of ``column``."""
        return f"{self.prefix}{column}{self.suffix}"


Rule = Selection | Rename | RemoveColumn | AddedColumn | BeforeImages


def parse_rule(rule: Mapping[str, Any]) -> Rule:
    """Check one rule of the DMS JSON. Raises LocalServiceError when DMS or this engine would refuse it."""
    where = f"table mappings, rule {rule.get('rule-name') or rule.get('rule-id') or '?'}"
    kind, action = rule.get("rule-type"), rule.get("rule-action")
    if kind == "selection":
        return _parse_selection(rule, str(action), where)
    if kind == "transformation":
        return _parse_transformation(rule, str(action), where)
    raise _refusal(f"rule-type {kind!r} is not supported", where, "use selection and transformation rules")


def _parse_selection(rule: Mapping[str, Any], action: str, where: str) -> Selection:
    if action not in ("include", "exclude", "explicit"):
        raise _refusal(f"rule-action {action!r} is not one of a selection", where, "use include or exclude")
    if rule.get("filters"):
        raise _refusal("filters are not supported", where, "remove them; the whole table is replicated")
    locator = _locator(rule, where)
    if action == "explicit" and "%" in locator.schema + locator.table:
        raise _refusal("an explicit rule has a wildcard", where, "name one schema and one table")
    return Selection(action, locator)


def _parse_transformation(rule: Mapping[str, Any], action: str, where: str) -> Rule:
    target, locator = str(rule.get("rule-target")), _locator(rule, where)
    if target not in ("schema", "table", "column"):
        raise _refusal(f"rule-target {target!r} is not supported", where, "use schema, table or column")
    if action in RENAMES:
        return Rename(target, action, locator, str(rule.get("value") or ""), str(rule.get("old-value") or ""))
    if target == "column" and action == "remove-column":
        return RemoveColumn(locator)
    if target == "column" and action == "add-column":
        return _parse_added(rule, locator, where)
    if target == "column" and action == "add-before-image-columns":
        return _parse_before_images(rule, locator, where)
    known = ", ".join((*RENAMES, "remove-column", "add-column", "add-before-image-columns"))
    raise _refusal(f"rule-action {action!r} on a {target} is not supported", where, f"use one of {known}")


def _parse_added(rule: Mapping[str, Any], locator: Locator, where: str) -> AddedColumn:
    name, expression = str(rule.get("value") or ""), str(rule.get("expression") or "").strip()
    if not name:
        raise _refusal("add-column has no value", where, "give the new column's name as `value`")
    if expression not in HEADERS + METADATA and not _LITERAL.match(expression):
        known = ", ".join(HEADERS + METADATA)
        raise _refusal(f"expression {expression!r} is not supported", where, f"use {known}, or a literal")
    return AddedColumn(locator, name, expression, _arrow_type(rule.get("data-type") or {}, where))


def _arrow_type(data_type: Mapping[str, Any], where: str) -> ArrowType:
    name = str(data_type.get("type") or "string").lower()
    if name == "numeric":
        return pa.decimal128(int(data_type.get("precision") or 28), int(data_type.get("scale") or 0))
    if name not in _TYPES:
        raise _refusal(f"data-type {name!r} is not supported", where, f"use one of {', '.join(_TYPES)}")
    return _TYPES[name]


def _parse_before_images(rule: Mapping[str, Any], locator: Locator, where: str) -> BeforeImages:
    definition = rule.get("before-image-def") or {}
    prefix, suffix = str(definition.get("column-prefix") or ""), str(definition.get("column-suffix") or "")
    columns = str(definition.get("column-filter") or "pk-only")
    if not prefix and not suffix:
        raise _refusal("before-image-def has no name", where, "give column-prefix or column-suffix")
    if columns not in ("pk-only", "non-lob", "all"):
        raise _refusal(f"column-filter {columns!r} is not known", where, "use pk-only, non-lob or all")
    return BeforeImages(locator, prefix, suffix, columns)


def _locator(rule: Mapping[str, Any], where: str) -> Locator:
    locator = rule.get("object-locator") or {}
    if not locator.get("schema-name"):
        raise _refusal("object-locator has no schema-name", where, "give schema-name, % for any")
    return Locator(
        locator["schema-name"], locator.get("table-name") or "%", locator.get("column-name") or "%"
    )


def _is_like(pattern: str, name: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("%"))), name, re.DOTALL) is not None


def _refusal(what: str, where: str, mend: str) -> LocalServiceError:
    return LocalServiceError(what, where=where, mend=mend)
