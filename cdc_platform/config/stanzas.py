"""Adding table stanzas to ``cdc.yaml`` as text, so that its comments and order stay as people wrote them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from cdc_platform.config.document import read_document
from cdc_platform.config.tables import TableConfig
from cdc_platform.errors import ConfigError
from cdc_platform.naming import safe_name


def write_stanzas(path: str | os.PathLike[str], source: str, tables: Sequence[TableConfig]) -> int:
    """Add ``tables`` to ``sources.<source>.tables`` of the file; return how many were not there before.

    Raises ConfigError when the list is not written as a block; the file is replaced as a whole or not at all.
    """
    file = Path(path)
    text = file.read_text(encoding="utf-8")
    settings = _settings(read_document(str(file), text).data, str(file), source)
    listed = [table.get("name") for table in settings.get("tables") or []]
    stanzas = [stanza(table) for table in tables if table.name not in listed]
    if not stanzas:
        return 0
    changed = _inserted(text, str(file), source, stanzas)
    expected = [*(settings.get("tables") or []), *stanzas]
    if _settings(read_document(str(file), changed).data, str(file), source).get("tables") != expected:
        raise _not_a_block(str(file), source)
    _replace(file, changed)
    return len(stanzas)


def stanza(table: TableConfig) -> dict[str, Any]:
    """Return ``table`` as it is written in the file: only what differs from the defaults."""
    written = table.model_dump(mode="json", exclude_defaults=True)
    if table.id == safe_name(table.table_name):
        written.pop("id", None)
    return written


def _settings(data: Any, file: str, source: str) -> dict[str, Any]:
    settings = (data.get("sources") or {}).get(source)
    if not isinstance(settings, dict):
        raise ConfigError(file, [(f"sources.{source}", "there is no such source", "add the source first")])
    return settings


def _not_a_block(file: str, source: str) -> ConfigError:
    what = "the list is not written as a block, one `- name: …` under the other"
    return ConfigError(file, [(f"sources.{source}.tables", what, "rewrite it as a block and try again")])


def _inserted(text: str, file: str, source: str, stanzas: list[dict[str, Any]]) -> str:
    sources = _entry(yaml.compose(text, Loader=yaml.SafeLoader), "sources")[1]
    mapping = _entry(sources, source)[1]
    keys = [key.value for key, _ in mapping.value]
    lines = text.splitlines()
    if mapping.flow_style:
        raise _not_a_block(file, source)
    if "tables" not in keys:
        indent = mapping.start_mark.column
        block = [f"{' ' * indent}tables:", *_block(stanzas, indent + 2)]
        return _joined(lines, _last_line(mapping), block)
    key, tables = _entry(mapping, "tables")
    if isinstance(tables, yaml.SequenceNode) and tables.value and not tables.flow_style:
        block = _block(stanzas, tables.start_mark.column)
        return _joined(lines, _last_line(tables), block)
    if tables.value and tables.value != "null":
        raise _not_a_block(file, source)
    line = key.start_mark.line
    comment = lines[line][tables.end_mark.column :] if tables.end_mark.line == line else ""
    lines[line] = (lines[line][: key.end_mark.column] + ":" + comment.rstrip()).rstrip()
    return _joined(lines, line, _block(stanzas, key.start_mark.column + 2))


def _entry(mapping: Any, name: str) -> tuple[Any, Any]:
    return next((key, value) for key, value in mapping.value if key.value == name)


def _last_line(node: yaml.Node) -> int:
    """Return the line of the last text of ``node``: a block's own end mark lies behind later comments."""
    while isinstance(node, (yaml.SequenceNode, yaml.MappingNode)) and node.value and not node.flow_style:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    end = node.end_mark
    return end.line - 1 if end.column == 0 and end.line > node.start_mark.line else end.line


def _block(stanzas: list[dict[str, Any]], indent: int) -> list[str]:
    text = yaml.safe_dump(stanzas, sort_keys=False, default_flow_style=None, allow_unicode=True, width=1000)
    return [" " * indent + line for line in text.splitlines()]


def _joined(lines: list[str], after: int, block: list[str]) -> str:
    return "\n".join([*lines[: after + 1], *block, *lines[after + 1 :]]) + "\n"


def _replace(file: Path, text: str) -> None:
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(text)
        os.chmod(temporary, file.stat().st_mode & 0o777)
        os.replace(temporary, file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
