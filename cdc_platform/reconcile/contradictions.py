"""Options of a whole comparison that do not go together, for the command and the job alike."""

from __future__ import annotations

from collections.abc import Callable

from cdc_platform.errors import ConfigError
from cdc_platform.lsn import find_lsn


def in_command(name: str) -> str:
    """Return an option as the command line has it.

    >>> in_command("keys_and_versions")
    '--keys-and-versions'
    """
    return f"--{name.replace('_', '-')}"


def refuse_contradictions(
    *,
    against: str | None,
    position: str | None,
    full: bool = False,
    resume: bool = False,
    keys_only: bool = False,
    version_column: str | None = None,
    incremental: bool = False,
    named: Callable[[str], str] = in_command,
) -> None:
    """Raise ConfigError for options of a whole comparison that do not go together.

    The command line and the job have the same rules; ``named`` gives an option's name there.
    """

    def refuse(what: str, mend: str) -> None:
        raise ConfigError("cdc", [("reconcile", what, mend)])

    keys, export = named("keys_and_versions"), named("against")
    if keys_only and (full or resume):
        others = f"{named('full')} and {named('resume')}"
        refuse(f"keys and versions are another comparison than {named('full')}", f"leave out {others}")
    if incremental and (full or keys_only or against is not None):
        refuse("an incremental run goes on from full ones", "leave out the other kind of run")
    if version_column is not None and not keys_only:
        refuse(f"{named('version_column')} is compared by itself", f"add {keys}")
    if position is not None and against is None:
        refuse(f"{named('position')} is of an export", f"name the export by {export}")
    if position is not None and find_lsn(position) is None:
        mend = f"give {named('position')} as the source prints it, such as 0/16B3748"
        refuse(f"{position!r} is not a log position", mend)
