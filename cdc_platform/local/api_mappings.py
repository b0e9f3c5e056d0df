"""Table mappings as DMS takes them: JSON of selection, transformation and table-settings rules."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from cdc_platform.local.api_errors import ApiError, invalid_value

_SELECTION_ACTIONS = ("include", "exclude", "explicit")
_TARGETS = ("schema", "table", "column", "table-tablespace", "index-tablespace")
_TRANSFORMATION_ACTIONS = (
    "add-column",
    "include-column",
    "remove-column",
    "rename",
    "convert-lowercase",
    "convert-uppercase",
    "add-prefix",
    "remove-prefix",
    "replace-prefix",
    "add-suffix",
    "remove-suffix",
    "replace-suffix",
    "define-primary-key",
    "change-data-type",
    "add-before-image-columns",
    "data-masking-digits-mask",
    "data-masking-digits-randomize",
    "data-masking-hash-mask",
)
_NEEDS_VALUE = ("rename", "add-prefix", "remove-prefix", "add-suffix", "remove-suffix", "add-column")
_FILTERS = ("pk-only", "non-lob", "all")


def checked_mappings(text: str) -> dict[str, Any]:
    """Return the parsed mappings. Raises ApiError naming the rule that is wrong, and how."""
    try:
        mappings = json.loads(text)
    except ValueError as fault:
        raise invalid_value(f"Invalid table mappings document: not JSON ({fault})") from fault
    if not isinstance(mappings, dict):
        raise invalid_value("Invalid table mappings document: not an object")
    rules = mappings.get("rules")
    if not isinstance(rules, list) or not rules:
        raise invalid_value("Invalid table mappings document: it needs a non-empty list 'rules'")
    seen: set[str] = set()
    for rule in rules:
        if not isinstance(rule, dict):
            raise invalid_value("Error in mapping rules. A rule is not an object")
        number = str(rule.get("rule-id", ""))
        if not number.isdecimal():
            raise _wrong(rule, "rule-id must be a number")
        if number in seen:
            raise _wrong(rule, "rule-id is used twice")
        seen.add(number)
        _check_rule(rule)
    if not any(rule["rule-type"] == "selection" and rule["rule-action"] != "exclude" for rule in rules):
        raise invalid_value("Error in mapping rules. At least one selection rule must include tables")
    return mappings


def _wrong(rule: Mapping[str, Any], why: str) -> ApiError:
    number = rule.get("rule-id", "?")
    return invalid_value(f"Error in mapping rules. Rule with ruleId = {number} failed validation. {why}")


def _check_rule(rule: Mapping[str, Any]) -> None:
    check = _CHECKS.get(rule.get("rule-type", ""))
    if check is None:
        raise _wrong(rule, f"rule-type {rule.get('rule-type')!r} is not one of {', '.join(_CHECKS)}")
    if not rule.get("rule-name"):
        raise _wrong(rule, "rule-name is missing")
    locator = rule.get("object-locator")
    if not isinstance(locator, dict) or not locator.get("schema-name"):
        raise _wrong(rule, "object-locator needs schema-name")
    if rule.get("rule-target") != "schema" and not locator.get("table-name"):
        raise _wrong(rule, "object-locator needs table-name")
    check(rule)


def _check_selection(rule: Mapping[str, Any]) -> None:
    if rule.get("rule-action") not in _SELECTION_ACTIONS:
        raise _wrong(rule, f"rule-action {rule.get('rule-action')!r}: one of {', '.join(_SELECTION_ACTIONS)}")
    if not isinstance(rule.get("filters", []), list):
        raise _wrong(rule, "filters must be a list")


def _check_transformation(rule: Mapping[str, Any]) -> None:
    action = rule.get("rule-action")
    if rule.get("rule-target") not in _TARGETS:
        raise _wrong(rule, f"rule-target {rule.get('rule-target')!r}: one of {', '.join(_TARGETS)}")
    if action not in _TRANSFORMATION_ACTIONS:
        raise _wrong(rule, f"rule-action {action!r}: one of {', '.join(_TRANSFORMATION_ACTIONS)}")
    if action in _NEEDS_VALUE and not rule.get("value"):
        raise _wrong(rule, f"{action} needs value")
    if action == "add-column" and not (rule.get("expression") and isinstance(rule.get("data-type"), dict)):
        raise _wrong(rule, "add-column needs expression and data-type")
    if action == "add-before-image-columns":
        _check_before_images(rule)


def _check_before_images(rule: Mapping[str, Any]) -> None:
    definition = rule.get("before-image-def")
    if not isinstance(definition, dict):
        raise _wrong(rule, "add-before-image-columns needs before-image-def")
    if not (definition.get("column-prefix") or definition.get("column-suffix")):
        raise _wrong(rule, "before-image-def needs column-prefix or column-suffix")
    if definition.get("column-filter", "pk-only") not in _FILTERS:
        raise _wrong(rule, f"before-image-def column-filter must be one of {', '.join(_FILTERS)}")


def _check_table_settings(rule: Mapping[str, Any]) -> None:
    if not any(name in rule for name in ("parallel-load", "lob-settings", "validation-settings")):
        raise _wrong(rule, "table-settings needs parallel-load, lob-settings or validation-settings")


_CHECKS: dict[str, Callable[[Mapping[str, Any]], None]] = {
    "selection": _check_selection,
    "transformation": _check_transformation,
    "table-settings": _check_table_settings,
}
