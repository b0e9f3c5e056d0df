"""Which rows a person asks for: those of one merge key, or those at one position, typed by base."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
from pyiceberg.schema import Schema

from cdc_platform.config.model import TableConfig
from cdc_platform.errors import ConfigError
from cdc_platform.events import GENERATION, POSITION, Position
from cdc_platform.lake.column_types import duckdb_type
from cdc_platform.naming import quoted, safe_name, sql_text

#: Bytes as text: hex digits, with PostgreSQL's mark before them or DuckDB's before each.
_HEX = re.compile(r"(\\x)?([0-9a-fA-F]{2})*|(\\x[0-9a-fA-F]{2})*")
_POSITION_TYPES = {GENERATION: "BIGINT", POSITION: "DECIMAL(38, 0)"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Columns with the value each must have. ``types`` are the columns' DuckDB types in base."""

    values: Mapping[str, Any]
    types: Mapping[str, str]

    @property
    def is_key(self) -> bool:
        """Whether a merge key is meant, not a position."""
        return GENERATION not in self.values

    @property
    def position(self) -> Position | None:
        """The position, None where a key is meant."""
        return None if self.is_key else Position(int(self.values[GENERATION]), int(self.values[POSITION]))

    def condition(self, prefix: str = "", *, alias: str = "") -> str:
        """Return the SQL condition that a row is meant, its columns named with ``prefix`` before them."""
        terms = [
            f"TRY_CAST({alias}{quoted(prefix + name)} AS {self.types[name]}) = {self._literal(name)}"
            for name in self.values
        ]
        return f"({' AND '.join(terms)})"

    def _literal(self, name: str) -> str:
        value = self.values[name]
        if isinstance(value, bytes):
            return f"from_hex('{value.hex()}')"
        # the engine's parser takes no NUL in a statement
        text = " || chr(0) || ".join(map(sql_text, str(value).split("\0")))
        return f"CAST({text} AS {self.types[name]})"

    def __str__(self) -> str:
        return ", ".join(f"{name}={key_text(value)}" for name, value in self.values.items())


def key_text(value: object) -> str:
    """Return a value as :func:`wanted_key` takes it, and as it is shown: binary ones in hex."""
    return value.hex() if isinstance(value, bytes) else str(value)


def wanted_key(table: TableConfig, schema: Schema, texts: Sequence[str], *, where: str) -> Wanted:
    """Return the key that ``texts`` say: ``column=value`` each, or the bare value of a key of one column.

    Raises ConfigError naming the key's columns and types when they do not fit.
    """
    key = table.safe_key
    if not key:
        raise _mistake(where, "the table has no merge key", "name the row by --position generation:sequence")
    types = {name: duckdb_type(schema.find_field(name).field_type) or "VARCHAR" for name in key}
    form = "write " + " ".join(f"--key {name}=<{kind}>" for name, kind in types.items())
    given: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if equals and safe_name(name) in types:
            given[safe_name(name)] = value
        elif len(key) == 1 and not (equals and name.isidentifier() and types[key[0]] != "VARCHAR"):
            given[key[0]] = text
        else:
            raise _mistake(where, f"{text!r} names no column of the merge key", form)
    missing = [name for name in key if name not in given]
    if missing or len(given) != len(texts):
        what = f"the key needs {', '.join(missing)}" if missing else "a column of the key is given twice"
        raise _mistake(where, what, form)
    return Wanted({name: _typed(where, name, given[name], types[name]) for name in key}, types)


def wanted_position(text: str, *, where: str) -> Wanted:
    """Return the position written as ``generation:sequence``. Raises ConfigError when it is none."""
    generation, _, sequence = text.partition(":")
    if not (generation.isdecimal() and sequence.isdecimal() and len(sequence) <= 38):
        mend = "write it as generation:sequence, as `cdc inspect` shows it"
        raise _mistake(where, f"{text!r} is no position", mend, option="--position")
    return Wanted({GENERATION: int(generation), POSITION: int(sequence)}, _POSITION_TYPES)


def _typed(where: str, name: str, text: str, kind: str) -> Any:
    if kind == "BLOB":
        if not _HEX.fullmatch(text):
            what = f"{text!r} is not a value of {name}, which is binary"
            raise _mistake(
                where, what, "give its bytes in hex as `cdc show` prints them: 00ffa7, or \\x00ffa7"
            )
        return bytes.fromhex(text.replace("\\x", ""))
    with duckdb.connect(config={"threads": 1}) as con:
        con.execute("SET TimeZone = 'UTC'")
        try:
            row = con.execute(f"SELECT CAST(? AS {kind})", [text]).fetchone()
        except duckdb.Error as e:
            what = f"{text!r} is not a value of {name}, which is {kind}"
            raise _mistake(where, what, f"give a {kind}") from e
    assert row is not None
    return row[0]


def _mistake(where: str, what: str, mend: str, *, option: str = "--key") -> ConfigError:
    return ConfigError(where, [(option, what, mend)])
