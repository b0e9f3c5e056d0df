"""``${ENV}`` references of ``cdc.yaml``: the one way a secret or a machine's own value comes in.

``${NAME}`` must be set, ``${NAME:-default}`` falls back, ``$${`` is a literal ``${``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from cdc_platform.config.document import Document, Path

_REFERENCE = re.compile(r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<fallback>:-(?P<default>[^}]*))?\}")
_BROKEN = re.compile(r"(?<!\$)\$\{")


def substitute(document: Document, environment: Mapping[str, str]) -> dict[Path, str]:
    """Resolve every reference in place; return the text of each value that had one, by path.

    Variables that are not set and references that are not closed are added to the document's mistakes.
    """
    references: dict[Path, str] = {}

    def resolved(value: Any, path: Path) -> Any:
        if isinstance(value, dict):
            return {key: resolved(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [resolved(item, (*path, index)) for index, item in enumerate(value)]
        if isinstance(value, str) and "${" in value:
            references[path] = value
            return _resolved_text(value, path, document, environment)
        return value

    document.data = resolved(document.data, ())
    return references


def _resolved_text(text: str, path: Path, document: Document, environment: Mapping[str, str]) -> str:
    def value_of(found: re.Match[str]) -> str:
        name = found["name"]
        if name is None:
            return "${"
        if found["fallback"] is not None:
            return environment.get(name) or found["default"]
        if name not in environment:
            mend = f"set it, or give a default: ${{{name}:-…}}"
            document.mistakes.append(document.mistake(path, f"environment variable {name} is not set", mend))
        return environment.get(name, "")

    if _BROKEN.search(_REFERENCE.sub("", text)):
        what = f"{text!r} has a reference that is not ${{NAME}} or ${{NAME:-default}}"
        document.mistakes.append(document.mistake(path, what, "close it with }, or write $${ for a literal"))
    return _REFERENCE.sub(value_of, text)
