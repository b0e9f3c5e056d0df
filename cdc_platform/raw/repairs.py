"""Names of the raw files a repair makes: accepted into windows like DMS's, kept beside the table.

Their keys begin with a mark no schema's folder has in a listing of ours, so they are told from DMS's by name.
"""

from __future__ import annotations

PREFIX = "@repair/"
#: What the name of a file that takes a repair back begins with.
UNDO = "undo-"
#: Where they lie in the table's object store, with everything else of a repair.
FOLDER = "repairs"


def repair_key(repair_id: str, part: str) -> str:
    """Return the key of a repair's file in window manifests and records.

    >>> repair_key("20260301T120000-4f2a", "events")
    '@repair/20260301T120000-4f2a/events.parquet'
    """
    return f"{PREFIX}{repair_id}/{part}.parquet"


def is_undo(key: str) -> bool:
    """Return whether a raw file's key is that of the events that take a repair back.

    >>> is_undo("@repair/20260301T120000-4f2a/undo-0a1b2c.parquet"), is_undo("public/item/undo-1.parquet")
    (True, False)
    """
    return is_repair(key) and key.rpartition("/")[2].startswith(UNDO)


def is_repair(key: str) -> bool:
    """Return whether a raw file's key is that of a repair's file."""
    return key.startswith(PREFIX)


def object_key(key: str) -> str:
    """Return where in the table's object store a repair's file lies.

    >>> object_key("@repair/20260301T120000-4f2a/events.parquet")
    'repairs/20260301T120000-4f2a/events.parquet'
    """
    return f"{FOLDER}/{key.removeprefix(PREFIX)}"
