"""Files that base has applied and nothing lists any more: what they changed, no window can tell.

Raw keeps its files, and manifests keep what was accepted. Where both are gone the window looks like one in
which nothing happened, but base's own record of applied files still names them.
"""

from __future__ import annotations

from cdc_platform.errors import RawFileError
from cdc_platform.formats.dms_names import parse_raw_file_name
from cdc_platform.lake.applied import FileIdentity, walk_batches
from cdc_platform.raw.manifests import Accepted
from cdc_platform.reconcile.subject import Subject


def forgotten_files(subject: Subject, accepted: Accepted) -> tuple[str, ...]:
    """Return the keys of such files of the window, and of those whose window nobody knows.

    Files of loads that a newer one has completed count for nothing in base.
    """
    record = subject.record
    lost = record.files.keys() - {(one.file.key, one.file.etag) for one in accepted.files}
    counting = {one for one in lost if record.files[one] >= record.generation_complete}
    if not counting:
        return ()
    windows = _recorded_windows(subject)
    of_window = (
        one for one in counting if windows.get(one, _named_window(subject, one)) in (subject.window, None)
    )
    return tuple(sorted(key for key, _ in of_window))


def _recorded_windows(subject: Subject) -> dict[FileIdentity, str]:
    """Return the windows files were applied in, as far as batch manifests are kept."""
    assert subject.base is not None
    objects = subject.platform.objects(subject.source_name, subject.table.id)
    batches = walk_batches(subject.base, objects)
    return {(file.key, file.etag): file.window for batch in batches for file in batch.files}


def _named_window(subject: Subject, version: FileIdentity) -> str | None:
    """Return the window the time in a change file's name is of; None for a file without."""
    try:
        name = parse_raw_file_name(version[0], subject.source.raw_of(subject.table))
    except RawFileError:
        return None
    return subject.source.window.key_of(name.file_time) if name.file_time is not None else None
