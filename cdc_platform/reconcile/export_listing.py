"""Which files an export at a path consists of, and which others lie there.

Spark, Hive, Athena and Arrow leave out of a folder what begins with ``_`` or ``.``: attempts that were never
committed, indexes, what a Mac writes beside each file. To read such a file would be to compare with rows that
are no rows of the export, so they leave it out, and so do we.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import duckdb

from cdc_platform.naming import sql_text
from cdc_platform.words import counted

_MAGIC = str.maketrans({one: f"[{one}]" for one in "*?["})


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of an export, and those beside them that may hold rows and are not read, both in order."""

    files: tuple[str, ...]
    passed_over: tuple[str, ...] = ()

    @property
    def remark(self) -> str:
        """Say how many files were passed over, and which is the first; empty where none was.

        >>> Listing((), ("/lake/_temporary/1.parquet",)).remark
        '1 file passed over, first /lake/_temporary/1.parquet (begins with _ or ., or is not called .parquet)'
        """
        if not self.passed_over:
            return ""
        why = "begins with _ or ., or is not called .parquet"
        return f"{counted(len(self.passed_over), 'file')} passed over, first {self.passed_over[0]} ({why})"


def literal(path: str) -> str:
    """Return a pattern that matches only this path."""
    return path.translate(_MAGIC)


def is_folder(path: str) -> bool:
    """Whether a path stands for all files below it. Of an object store nobody knows but by the last slash.

    >>> is_folder("s3://bucket/export/"), is_folder("s3://bucket/export/*.parquet")
    (True, False)
    """
    return path.endswith("/") or ("://" not in path and Path(path).is_dir())


def list_export(connection: duckdb.DuckDBPyConnection, path: str) -> Listing:
    """Return what lies at a folder, file or pattern. Raises duckdb.Error where that cannot be listed."""
    path = re.sub("^file:(//(localhost)?)?(?=/)", "", path)
    whole, pattern = is_folder(path), _pattern(path)
    found = connection.execute(f"SELECT file FROM glob({sql_text(pattern)}) ORDER BY file").fetchall()
    files, passed_over = [], []
    for file in (str(row[0]) for row in found if not str(row[0]).endswith("/")):
        hidden = _is_hidden(file, pattern)
        is_called = file.lower().endswith(".parquet") or not whole
        if is_called and not hidden:
            files.append(file)
        elif is_called or not hidden:
            # the others, such as _SUCCESS, hold no rows for anybody
            passed_over.append(file)
    return Listing(tuple(files), tuple(passed_over))


def _pattern(path: str) -> str:
    """Return the pattern of an export's files, with parts that are those of the paths it matches."""
    is_local = "://" not in path
    folder = literal(path) if is_local and Path(path).is_dir() else path
    pattern = f"{folder.rstrip('/')}/**" if is_folder(path) else path
    return str(Path(os.path.expanduser(pattern))) if is_local else pattern


def _is_hidden(path: str, pattern: str) -> bool:
    """Whether a part of a path begins with ``_`` or ``.`` where the pattern does not say so itself.

    A folder named for a column's value (``_year=2026``) is none of those, which Spark reads as well.

    >>> _is_hidden("/_lake/_temporary/1.parquet", "/_lake/**"), _is_hidden("/lake/_1.parquet", "/lake/_*")
    (True, False)
    >>> _is_hidden("/lake/_year=2026/1.parquet", "/lake/**")
    False
    """
    parts, asked = path.split("/"), pattern.split("/")
    if "**" in asked:
        at = asked.index("**")
        head, tail = asked[:at], asked[at + 1 :]
        asked = [*head, *[""] * (len(parts) - len(head) - len(tail)), *tail]
    return any(
        part.startswith(".") or (part.startswith("_") and "=" not in part)
        for part, named in zip(parts, asked, strict=False)
        if part[:1] != named[:1]
    )
