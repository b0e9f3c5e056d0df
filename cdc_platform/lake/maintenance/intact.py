"""Whether every file the current snapshot names is there in its full size, by a listing alone."""

from __future__ import annotations

from collections.abc import Mapping

from pyiceberg.table import Table

from cdc_platform.errors import MergeError
from cdc_platform.lake.branch import reloaded
from cdc_platform.lake.damage import mend_of
from cdc_platform.lake.live_rows import LiveFiles, live_files
from cdc_platform.lake.maintenance.listing import Listing


def check_files(table: Table, live: LiveFiles | None = None) -> None:
    """Compare the sizes that storage lists with those the manifests name; files elsewhere are not looked at.

    ``live`` are the files of the current snapshot, where its manifests were read already. Raises MergeError
    naming what is missing or of another size.
    """
    suspects = _faults(table, _named(table, live or live_files(table)))
    if not suspects:
        return
    # what an expiry has removed since the table was loaded is not named any more
    now = reloaded(table)
    still = _named(now, live_files(now))
    faults = {file: fault for file, fault in suspects.items() if file in still}
    if faults:
        first = next(iter(faults))
        files = "a file of the table is" if len(faults) == 1 else f"{len(faults)} files of the table are"
        what = f"{files} missing or damaged, first {first}: {faults[first]}"
        raise MergeError(what, where=".".join(table.name()), mend=mend_of(is_metadata=False))


def _named(table: Table, live: LiveFiles) -> dict[str, int]:
    """Return the data and delete files with their sizes."""
    listing = Listing(table)
    files = [part for file in live.files for part in (file.data, *file.deletes)]
    return {listing.normalised(file.file_path): file.file_size_in_bytes for file in files}


def _faults(table: Table, named: Mapping[str, int]) -> dict[str, str]:
    if not named:
        return {}
    listing, folder = Listing(table), f"{table.location()}/data"
    there = {file.location: file.bytes for file in listing.below(folder)}
    begin = f"{listing.normalised(folder)}/"
    found: dict[str, str] = {}
    for file, size in sorted(named.items()):
        if not file.startswith(begin):
            continue
        if file not in there:
            found[file] = "it is not there"
        elif there[file] != size:
            found[file] = f"it has {there[file]:,} of {size:,} bytes"
    return found
