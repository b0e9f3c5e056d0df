"""The JSON Schema of ``cdc.yaml``, for editors and for telling which keys exist where."""

from __future__ import annotations

from functools import cache
from typing import Any

from cdc_platform.config.document import Path
from cdc_platform.config.model import PlatformConfig

_REFERENCE: dict[str, Any] = {"type": "string", "pattern": r"\$\{"}


def config_schema() -> dict[str, Any]:
    """Return the JSON Schema of ``cdc.yaml``; a number, flag or choice may also be an ``${ENV}`` text."""
    schema: dict[str, Any] = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    schema.update(_with_references(_model_schema()))
    return schema


@cache
def _model_schema() -> dict[str, Any]:
    schema = PlatformConfig.model_json_schema()
    schema["properties"].pop("base_folder")
    return schema


def _with_references(node: Any) -> Any:
    if isinstance(node, list):
        return [_with_references(item) for item in node]
    if not isinstance(node, dict):
        return node
    copied = {key: _with_references(value) for key, value in node.items()}
    if isinstance(node.get("type"), str) and (
        node["type"] in ("integer", "number", "boolean")
        or ("enum" in node and "title" not in node)
        or node.get("format") == "date"
    ):
        kept = {key: copied.pop(key) for key in ("title", "description", "default") if key in copied}
        return {**kept, "anyOf": [copied, _REFERENCE]}
    return copied


def resolve_location(location: Path) -> tuple[Path, list[str]]:
    """Return the YAML path of a validation error's location, and the keys that may stand beside its last.

    Locations name the chosen member of a union (``catalog.sql.uri``); the file has no such step.
    """
    root = _model_schema()
    nodes: list[dict[str, Any]] = [root]
    path: list[str | int] = []
    siblings: list[str] = []
    for step in location:
        nodes = [member for node in nodes for member in _members(node, root)]
        siblings = sorted({name for node in nodes for name in node.get("properties", {})})
        if any(step in _tags(node) for node in nodes) and step not in siblings:
            nodes = [_dereferenced(_tags(node)[step], root) for node in nodes if step in _tags(node)]
            continue
        path.append(step)
        nodes = [child for node in nodes for child in _children(node, step)]
    return tuple(path), siblings


def _tags(node: dict[str, Any]) -> dict[Any, Any]:
    mapping = node.get("discriminator", {}).get("mapping", {})
    return {tag: {"$ref": reference} for tag, reference in mapping.items()}


def _dereferenced(node: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        node = root["$defs"][node["$ref"].rpartition("/")[2]]
    return node


def _members(node: dict[str, Any], root: dict[str, Any]) -> list[dict[str, Any]]:
    """Return ``node`` itself and the alternatives of an optional value."""
    node = _dereferenced(node, root)
    return [node, *(_dereferenced(option, root) for option in node.get("anyOf", []))]


def _children(node: dict[str, Any], step: str | int) -> list[dict[str, Any]]:
    if isinstance(step, int):
        return [node["items"]] if isinstance(node.get("items"), dict) else []
    known = node.get("properties", {})
    if step in known:
        return [known[step]]
    extra = node.get("additionalProperties")
    return [extra] if isinstance(extra, dict) else []
