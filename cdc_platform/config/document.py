"""``cdc.yaml`` as text becomes plain data that remembers the line of every value.

A path is a tuple of keys and indexes; ``path_text`` writes it as people do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml

from cdc_platform.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """Leaves dates as text, so that a wrong one is a mistake at its path and not a broken file."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}

Path = tuple[str | int, ...]
Mistake = tuple[str, str, str]


def path_text(path: Path) -> str:
    """Return ``path`` as it is written in messages.

    >>> path_text(("sources", "retail", "tables", 1, "name"))
    'sources.retail.tables[1].name'
    """
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text or "(top level)"


@dataclass(slots=True)
class Document:
    """The data of a YAML file, the line of each path, and the keys that were written twice."""

    file: str
    data: Any
    lines: dict[Path, int] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)

    def locate(self, path: Path) -> str:
        """Return ``path`` with its line, or that of the nearest parent the file has."""
        known = path
        while known and known not in self.lines:
            known = known[:-1]
        return f"{path_text(path)} (line {self.lines[known]})" if known in self.lines else path_text(path)

    def mistake(self, path: Path, what: str, mend: str) -> Mistake:
        """Return a mistake at ``path``."""
        return self.locate(path), what, mend


def read_document(file: str, text: str) -> Document:
    """Parse ``text``; raise ConfigError when it is not YAML or not a mapping at the top."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        data = {} if node is None else loader.construct_document(node)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(file, [_yaml_mistake(error)]) from error
    finally:
        loader.dispose()
    document = Document(file, data)
    if node is not None:
        _walk(node, (), document)
    if not isinstance(data, dict):
        raise ConfigError(
            file, [document.mistake((), "the file is not a mapping", "start it with `version: 1`")]
        )
    return document


def _yaml_mistake(error: Exception) -> Mistake:
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "(top level)"
    what = f"not valid YAML: {getattr(error, 'problem', None) or error}"
    return where, what, "mend the indentation, quote or colon there"


def _walk(node: yaml.Node, path: Path, document: Document) -> None:
    document.lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _walk(item, (*path, index), document)
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            name = str(key.value)
            here, line = (*path, name), key.start_mark.line + 1
            document.lines[here] = line
            if name in seen:
                what = f"the key is written twice (lines {seen[name]} and {line}); only the last would count"
                document.mistakes.append(document.mistake(here, what, "keep one of them"))
            seen[name] = line
            _walk(value, here, document)
