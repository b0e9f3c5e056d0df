"""Reading ``cdc.yaml``: every mistake at once, each with its path and line, its value and its mend.

Secrets come only by ``${ENV}`` reference and are never part of a message.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path as FilePath
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails

from cdc_platform.config.document import Document, Mistake, Path, path_text, read_document
from cdc_platform.config.model import DUPLICATE_TABLE, MEMORY_SIZE, PlatformConfig, duplicate_tables
from cdc_platform.config.schema import config_schema, resolve_location
from cdc_platform.config.substitution import substitute
from cdc_platform.errors import ConfigError, redact
from cdc_platform.naming import safe_name

__all__ = ["config_schema", "load_config", "parse_config"]

_SECRET_KEYS = ("password", "webhook_url")
_SECRET_PROPERTY = re.compile(r"secret|password|token|credential", re.IGNORECASE)


def load_config(path: str | os.PathLike[str], *, is_whole: bool = False) -> PlatformConfig:
    """Return the configuration in the file ``path``; its relative paths start from the file's folder.

    Raises ConfigError with every mistake of the file; for ``is_whole`` see :func:`parse_config`.
    """
    file = FilePath(path)
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        mend = "give its path with --config, or start from the cdc.yaml of this project"
        raise ConfigError(str(file), [("(file)", "there is no such file", mend)]) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(file), [("(file)", f"cannot be read: {error}", "save it as UTF-8")]) from error
    return parse_config(text, file=str(file), base_folder=file.resolve().parent, is_whole=is_whole)


def parse_config(
    text: str,
    *,
    file: str = "cdc.yaml",
    base_folder: FilePath | None = None,
    environment: Mapping[str, str] | None = None,
    is_whole: bool = False,
) -> PlatformConfig:
    """Return the configuration ``text`` says. Raises ConfigError with every mistake.

    ``is_whole`` also asks for what a whole file has to say, its version and a source, though the model has
    defaults for them.
    """
    document = read_document(file, text)
    mistakes = _literal_secrets(document)
    references = substitute(document, os.environ if environment is None else environment)
    mistakes += document.mistakes + _duplicates(document)
    unset = {mistake[0] for mistake in document.mistakes}
    config: PlatformConfig | None = None
    try:
        config = PlatformConfig.model_validate({**document.data, "base_folder": base_folder or FilePath()})
    except ValidationError as error:
        found = [_mistake(details, document, references) for details in error.errors()]
        mistakes += [one for one in found if one is not None and one[0] not in unset]
    if is_whole:
        mistakes += _left_out(document)
    if "base_folder" in document.data:
        mistakes.append(document.mistake(("base_folder",), "unknown key", "remove it"))
    if mistakes or config is None:
        raise ConfigError(
            file, sorted(set(mistakes), key=lambda mistake: (_line(mistake), mistakes.index(mistake)))
        )
    return _with_dsn_files(config)


def _with_dsn_files(config: PlatformConfig) -> PlatformConfig:
    """Fill each ``dsn`` that a file holds: the code location also loads while its services are down."""
    sources = dict(config.sources)
    for name, source in sources.items():
        connection = source.connection
        if connection is None or connection.dsn is not None or connection.dsn_file is None:
            continue
        file = FilePath(config.path_of(connection.dsn_file))
        # Without the file, a server socket of its name: whoever connects is told which file is missing, and
        # never reaches the database that libpq's own defaults would pick.
        dsn = file.read_text().strip() if file.is_file() else f"host='{file}'"
        filled = connection.model_copy(update={"dsn": SecretStr(dsn)})
        sources[name] = source.model_copy(update={"connection": filled})
    return config.model_copy(update={"sources": sources})


def _line(mistake: Mistake) -> int:
    found = re.search(r"\(line (\d+)\)", mistake[0])
    return int(found[1]) if found else 0


def _literal_secrets(document: Document) -> list[Mistake]:
    """Return a mistake for every password that stands in the file itself."""
    found: list[Mistake] = []
    for path in document.lines:
        value = _value_at(document.data, path)
        if isinstance(value, str) and path and "${" not in value and _is_secret(path, value):
            what = f"a secret is written into the file: {path[-1]} = ***"
            found.append(
                document.mistake(path, what, f"put it into the environment and write ${{{_name(path)}}}")
            )
    return found


def _is_secret(path: Path, value: str) -> bool:
    """Return whether a value is a secret: by its key, or because it holds a password (a URL, a DSN)."""
    key = str(path[-1])
    by_key = key in _SECRET_KEYS or ("properties" in path and _SECRET_PROPERTY.search(key) is not None)
    return by_key or redact(value) != value


def _name(path: Path) -> str:
    steps = [str(step) for step in path if step not in ("sources", "connection")]
    return safe_name("_".join(["cdc", *steps])).upper()


def _left_out(document: Document) -> list[Mistake]:
    """Return what a whole file lacks: its version, and a source to work on."""
    found: list[Mistake] = []
    if "version" not in document.data:
        found.append(document.mistake(("version",), "is missing", "start the file with `version: 1`"))
    if document.data.get("sources", {}) == {}:
        mend = "add a source with its `raw` and `window` under `sources`"
        found.append(document.mistake(("sources",), "there are no sources", mend))
    return found


def _duplicates(document: Document) -> list[Mistake]:
    """Return the tables listed twice. They are told here as well as by the model, so that they are told
    even when another part of the same source is wrong."""
    found: list[Mistake] = []
    sources = document.data.get("sources")
    for source, settings in sources.items() if isinstance(sources, dict) else ():
        tables = settings.get("tables") if isinstance(settings, dict) else None
        listed = [
            (
                index,
                str(table["name"]),
                str(table.get("id") or safe_name(str(table["name"]).partition(".")[2])),
            )
            for index, table in enumerate(tables if isinstance(tables, list) else [])
            if isinstance(table, dict) and "name" in table
        ]
        for position, what, mend in duplicate_tables([(name, table_id) for _, name, table_id in listed]):
            path = ("sources", source, "tables", listed[position][0], "name")
            found.append(document.mistake(path, what, mend))
    return found


def _table_id(table: Mapping[str, Any]) -> str:
    return str(table.get("id") or safe_name(str(table["name"]).partition(".")[2]))


def _mistake(details: ErrorDetails, document: Document, references: Mapping[Path, str]) -> Mistake | None:
    """Return what a person reads for one validation error; None for one that is told elsewhere."""
    kind, context = details["type"], details.get("ctx", {})
    path, siblings = resolve_location(details["loc"])
    shown = _shown(details["input"], path, references)
    if kind == DUPLICATE_TABLE:
        return None
    if kind == "extra_forbidden":
        return document.mistake(path, f"unknown key {path[-1]!r}", _nearest(str(path[-1]), siblings))
    if kind == "missing":
        return document.mistake(path, "is missing", f"add `{path[-1]}` under {path_text(path[:-1])}")
    if kind == "cdc_mistake":
        return document.mistake(path, context["what"], context["mend"])
    if kind in ("enum", "literal_error"):
        return document.mistake(path, f"{shown} is not one of the choices", f"write {context['expected']}")
    if kind.startswith("union_tag"):
        expected = context.get("expected_tags", context.get("discriminator", "type"))
        return document.mistake(path, "what type it is cannot be told", f"set `type` to one of {expected}")
    if kind == "string_pattern_mismatch" and context["pattern"] == MEMORY_SIZE:
        return document.mistake(path, f"{shown} is not a size", "write a size such as 2GB")
    what = details["msg"][0].lower() + details["msg"][1:]
    return document.mistake(path, f"{shown}: {redact(what)}" if shown else redact(what), _mend(kind, context))


def _nearest(key: str, siblings: list[str]) -> str:
    close = get_close_matches(key, siblings, n=1)
    if close:
        return f"did you mean `{close[0]}`?"
    return f"remove it; known here: {', '.join(siblings)}" if siblings else "remove it"


def _mend(kind: str, context: Mapping[str, Any]) -> str:
    bounds = {
        "greater_than_equal": ("ge", "at least"),
        "less_than_equal": ("le", "at most"),
        "greater_than": ("gt", "more than"),
        "less_than": ("lt", "less than"),
    }
    if kind in bounds:
        name, words = bounds[kind]
        return f"write {words} {context[name]}"
    forms = {
        "int": "write a whole number",
        "float": "write a number",
        "finite": "write a number, neither infinite nor nan",
        "bool": "write true or false",
        "date": "write a date as 2026-01-31",
        "string": "write text; put quotes around a number that is meant as text",
        "tuple": "write a list: [a, b]",
        "dict": "write a mapping of key: value",
        "model": "write a mapping of key: value",
    }
    return forms.get(kind.partition("_")[0], "see `cdc schema` for what is allowed")


def _shown(value: object, path: Path, references: Mapping[Path, str]) -> str:
    """Return a value for a message: the reference instead of what it stood for, nothing of a secret."""
    if path in references:
        return references[path]
    if isinstance(value, (dict, list, tuple)) or value is None:
        return ""
    if path and ("properties" in path or _is_secret(path, str(value))):
        return "***"
    return redact(repr(value))


def _value_at(data: Any, path: Path) -> Any:
    for step in path:
        if isinstance(data, dict):
            data = next((value for key, value in data.items() if str(key) == step), None)
        elif isinstance(data, list) and isinstance(step, int):
            data = data[step]
        else:
            return None
    return data
