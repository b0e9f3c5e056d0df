"""Walking a folder in the order S3 lists keys: by the whole key, not folder by folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def walk_sorted(
    root: Path, prefix: str = "", start_after: str = ""
) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield (key, entry) of every file below ``root`` whose key starts with ``prefix``, ascending.

    Keys up to and including ``start_after`` are left out, and folders that hold only such are not read.
    A root or prefix that does not exist holds nothing; a folder that vanishes meanwhile is passed over.
    """
    base = prefix.rpartition("/")[0]
    if base and any(part in ("", ".", "..") for part in base.split("/")):
        # no key is like that, though a path may be
        return
    yield from _walk(root / base, f"{base}/" if base else "", prefix, start_after)


def _walk(folder: Path, at: str, prefix: str, start_after: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    for key, entry in sorted_entries(folder, at):
        is_folder = key.endswith("/")
        if not (key.startswith(prefix) or (is_folder and prefix.startswith(key))):
            continue
        if key <= start_after and not (is_folder and start_after.startswith(key)):
            continue
        if is_folder:
            yield from _walk(Path(entry.path), key, prefix, start_after)
        else:
            yield key, entry


def sorted_entries(folder: Path, at: str = "") -> list[tuple[str, os.DirEntry[str]]]:
    """Return (key, entry) of what ``folder`` holds, ascending; the keys of folders end with ``/``."""
    try:
        with os.scandir(folder) as entries:
            named = [(f"{at}{entry.name}{'/' if entry.is_dir() else ''}", entry) for entry in entries]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(named, key=lambda pair: pair[0])
