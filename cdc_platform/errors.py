"""The exceptions a caller can meet, each saying what is wrong, where, and what to do next.

    CdcError
    ├── ConfigError(ValueError)             cdc.yaml is wrong; carries every mistake found
    ├── StorageUnavailable     (retryable)  a folder or bucket cannot be reached, or refuses the call
    │   └── FileMissing        (retryable)  a file that a table names is not there
    ├── RawFileError
    │   ├── UnknownRawFileName              a name DMS does not write
    │   ├── UnreadableRawFile               truncated, wrong magic, wrong columns
    │   └── RawFileVanished                 listed, then gone
    ├── SchemaError
    │   ├── IncompatibleSchemaChange        a change Iceberg does not allow
    │   └── MissingMergeKey                 a key column the file or table lacks
    ├── MergeError
    │   ├── StaleCommit          (retryable)  another writer committed first
    │   └── CommitOutcomeUnknown (retryable)  the catalog did not say whether it committed
    ├── ReplicationError
    │   ├── TaskFailed                      DMS says failed, or stopped for a bad reason
    │   └── TaskTimedOut         (retryable)
    ├── ReconciliationError
    │   └── SourceUnavailable    (retryable)
    ├── JobError
    │   ├── JobFailed
    │   └── JobTimedOut          (retryable)
    ├── StateError                          the control state cannot be read or written
    │   └── StateConflict        (retryable)  another writer changed it first
    └── LocalServiceError                   the laptop stand-ins cannot start or answer

Whether to try again is a property of the error (``retryable``), never of the caller. Messages never
hold a secret: pass any text from outside (driver errors, URLs) through :func:`redact` first.
"""

from __future__ import annotations

import re
from typing import ClassVar

_SECRETS = re.compile(
    # up to the last @, which a password may have itself
    r"(?P<head>://[^:/@\s]+:)\S+(?=@)"
    # what is no host is the rest of such a password
    r"|(?P<host>\bhost(?: name)? ['\"])[^'\"]*@[^'\"]*(?=['\"])"
    r"|(?P<name>\b(?:password|passwd|pwd|secret|token|secretaccesskey)\b['\"]?\s*[=:]\s*)"
    r"(?:'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|[^\s,;&)}]+)",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """Return ``text`` with passwords in URLs and ``password=…`` pairs replaced by ``***``.

    >>> redact("postgresql://etl:s3cret@db/shop password=abc")
    'postgresql://etl:***@db/shop password=***'
    """
    return _SECRETS.sub(lambda found: f"{found['head'] or found['host'] or found['name']}***", text)


class CdcError(Exception):
    """Base of everything this package raises on purpose.

    ``what`` is the fault in one sentence, ``where`` names the table, file, row or configuration path,
    ``mend`` the next thing a person does.
    """

    retryable: ClassVar[bool] = False

    def __init__(self, what: str, *, where: str = "", mend: str = "") -> None:
        self.what = redact(what)
        self.where = where
        self.mend = mend
        text = f"{where}: {self.what}" if where else self.what
        super().__init__(f"{text} → {mend}" if mend else text)


class ConfigError(CdcError, ValueError):
    """``cdc.yaml`` is wrong. ``mistakes`` lists every fault as (path, what, mend)."""

    def __init__(self, file: str, mistakes: list[tuple[str, str, str]]) -> None:
        self.file = file
        self.mistakes = mistakes
        lines = [f"  {path}: {what} → {mend}" for path, what, mend in mistakes]
        count = len(mistakes)
        head = f"{file} has {count} mistake{'s' if count != 1 else ''}:"
        super().__init__("\n".join([head, *lines]))


class StorageUnavailable(CdcError):
    """A folder or bucket cannot be reached, or refuses the call."""

    retryable = True


class FileMissing(StorageUnavailable):
    """A file that a table names is not there: removed meanwhile, or lost."""


class RawFileError(CdcError):
    """A raw file cannot be taken in."""


class UnknownRawFileName(RawFileError):
    """The name is not one DMS writes."""


class UnreadableRawFile(RawFileError):
    """The file's bytes or columns cannot be read as the configured format."""


class RawFileVanished(RawFileError):
    """The file was listed and then was gone."""


class SchemaError(CdcError):
    """A file's columns and the table's do not go together."""


class IncompatibleSchemaChange(SchemaError):
    """The change is not one Iceberg allows."""


class MissingMergeKey(SchemaError):
    """A merge key column is missing."""


class MergeError(CdcError):
    """A merge cannot be planned or committed."""


class StaleCommit(MergeError):
    """Another writer committed first; plan again on the new snapshot."""

    retryable = True


class CommitOutcomeUnknown(MergeError):
    """The catalog did not say whether the commit happened; look for the batch id before acting."""

    retryable = True


class ReplicationError(CdcError):
    """Replication by DMS cannot be set up, run or read."""


class TaskFailed(ReplicationError):
    """The task failed, or stopped for a reason that is not success."""


class TaskTimedOut(ReplicationError):
    """The task did not reach the state in time."""

    retryable = True


class ReconciliationError(CdcError):
    """Two sides cannot be compared."""


class SourceUnavailable(ReconciliationError):
    """The source database cannot be reached or refused the query."""

    retryable = True


class JobError(CdcError):
    """A remote job failed."""


class JobFailed(JobError):
    """The job ended in failure."""


class JobTimedOut(JobError):
    """The job did not end in time."""

    retryable = True


class StateError(CdcError):
    """The control state cannot be read or written."""


class StateConflict(StateError):
    """Another writer changed the entry first; read it again before acting."""

    retryable = True


class LocalServiceError(CdcError):
    """An embedded service of the laptop set-up cannot start or answer."""
