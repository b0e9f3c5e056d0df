"""`cdc up` as a process: it starts everything, stops everything on Ctrl-C, and resumes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from cdc_platform.local import services
from cdc_platform.local.stack import write_dsn_file

ROOT = Path(__file__).parents[1]
READY_SECONDS, END_SECONDS = 90.0, 60.0


@pytest.fixture(scope="module")
def project() -> Iterator[Path]:
    """A copy of the repository's own cdc.yaml, with an endpoint port of its own.

    Not below pytest's folder: it closes that to other users, and started by root PostgreSQL is one.
    """
    folder = Path(tempfile.mkdtemp(prefix="cdc-up-"))
    text = (ROOT / "cdc.yaml").read_text()
    assert ":7433" in text
    (folder / "cdc.yaml").write_text(text.replace(":7433", f":{free_port()}"))
    yield folder
    services.down(folder / ".cdc" / "local")
    shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(project: Path) -> Iterator[subprocess.Popen[str]]:
    """Run ``cdc up`` without the UI until it says that it is ready; end it with Ctrl-C."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CDC_"))}
    program = "from cdc_platform.cli import main; main()"
    child = subprocess.Popen(
        [sys.executable, "-c", program, "up", "--no-ui", "--rate", "40"],
        cwd=project,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        read_until(child, "ready")
        yield child
        child.send_signal(signal.SIGINT)
        rest, _ = child.communicate(timeout=END_SECONDS)
        assert 0 == child.returncode, rest
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
        assert child.stdout is not None
        child.stdout.close()


def read_until(child: subprocess.Popen[str], word: str) -> None:
    assert child.stdout is not None
    seen = []
    deadline = time.monotonic() + READY_SECONDS
    for line in child.stdout:
        seen.append(line)
        if word in line:
            return
        assert time.monotonic() < deadline, "".join(seen)
    pytest.fail("".join(seen))


def newest_order(project: Path) -> int:
    dsn = (project / ".cdc" / "local" / "retail.dsn").read_text().strip()
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT max(order_id) FROM productorder WHERE order_id < 10^9").fetchone()
    assert row is not None
    return int(row[0])


def change_files(project: Path) -> int:
    folder = project / ".cdc" / "local" / "raw" / "retail" / "public" / "productorder"
    return sum(1 for path in folder.glob("*.parquet") if not path.name.startswith("LOAD"))


def wait_for_more(look: object, before: int) -> int:
    assert callable(look)
    deadline = time.monotonic() + READY_SECONDS
    while (now := int(look())) <= before:
        assert time.monotonic() < deadline
    return now


def test_up_loads_changes_and_captures_stops_on_ctrl_c_and_resumes(project: Path) -> None:
    with running(project):
        wait_for_more(lambda: newest_order(project), 50_000)
        captured = wait_for_more(lambda: change_files(project), 0)
    assert not services.status(project / ".cdc" / "local").is_postgres_running

    with running(project):
        wait_for_more(lambda: change_files(project), captured)

    loads = list((project / ".cdc/local/raw/retail/public/productorder").glob("LOAD*"))
    assert 1 == len(loads), "a resumed task does not load again"


def test_the_dsn_file_is_its_owner_s_alone(tmp_path: Path) -> None:
    path = write_dsn_file(tmp_path, "retail", "postgresql://u:p@h/retail")

    assert (0o600, "postgresql://u:p@h/retail\n") == (path.stat().st_mode & 0o777, path.read_text())
