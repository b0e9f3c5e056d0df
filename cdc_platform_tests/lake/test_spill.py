"""The engine spills to disk without meeting the spill files of another process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cdc_platform.config.model import EngineConfig
from cdc_platform.lake.catalog import open_lake
from cdc_platform.lake.read import open_workspace
from cdc_platform.lake.spill import workspace_folder
from cdc_platform_tests.lake.conftest import lake_config

_SORT = """
import sys
from pathlib import Path
from cdc_platform.config.model import EngineConfig
from cdc_platform.lake.catalog import open_lake
from cdc_platform.lake.read import open_workspace
from cdc_platform_tests.lake.conftest import lake_config

engine = EngineConfig(threads=1).model_copy(update={"memory_limit": "40MB"})
config = lake_config(Path(sys.argv[1])).model_copy(update={"engine": engine})
with open_lake(config) as lake:
    con = open_workspace(lake)
    print("ready", flush=True)
    sys.stdin.readline()
    mine = sys.argv[2]
    rows = f"SELECT hash(range) AS h, repeat('{mine}', 60) || range AS s FROM range(700000)"
    con.execute(f"CREATE TABLE t AS {rows}")
    spilled = any(path.is_file() and path.suffix == ".tmp" for path in lake.spill_folder().rglob("*"))
    same = con.execute(
        f"SELECT count(*) FILTER (s[1] = '{mine}'), sum(h % 1000003) = (SELECT sum(hash(range) % 1000003) "
        "FROM range(700000)) FROM (FROM t ORDER BY s DESC, h)"
    ).fetchone()
    print(spilled, *same, flush=True)
"""


def test_two_processes_that_spill_at_once_do_not_meet(tmp_path: Path) -> None:
    sorters = [
        subprocess.Popen(
            [sys.executable, "-c", _SORT, str(tmp_path), letter],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for letter in "ab"
    ]
    for sorter in sorters:
        assert sorter.stdout is not None
        assert "ready\n" == sorter.stdout.readline()
    for sorter in sorters:
        assert sorter.stdin is not None
        sorter.stdin.write("go\n")
        sorter.stdin.flush()
    outputs = [sorter.communicate(timeout=120)[0] for sorter in sorters]

    assert [0, 0] == [sorter.returncode for sorter in sorters]
    assert ["True 700000 True\n"] * 2 == outputs


def test_workspaces_of_one_process_have_folders_of_their_own_that_go_with_them(tmp_path: Path) -> None:
    # less than cdc.yaml may say, to spill soon
    engine = EngineConfig(threads=1).model_copy(update={"memory_limit": "40MB"})
    config = lake_config(tmp_path).model_copy(update={"engine": engine})
    with open_lake(config) as lake:
        workspaces = [open_workspace(lake) for _ in range(2)]
        for con in workspaces:
            con.execute("CREATE TABLE t AS SELECT repeat('x', 90) || range AS s FROM range(500000)")
        used = {path.parent for path in lake.spill_folder().rglob("*.tmp") if path.is_file()}
        for con in workspaces:
            con.close()

        assert 2 == len(used)
        assert [] == [path for path in lake.spill_folder().rglob("*.tmp") if path.is_file()]


_KILLED = """
import sys
from pathlib import Path
from cdc_platform.lake.spill import workspace_folder

folder = workspace_folder(Path(sys.argv[1]))
folder.mkdir()
(folder / "pages.tmp").write_bytes(b"x" * 1000)
print(folder, flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("is_killed", [True, False])
def test_what_a_killed_process_spilled_is_removed_by_the_next_and_what_a_live_one_did_stays(
    tmp_path: Path, is_killed: bool
) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", _KILLED, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout is not None
    pages = Path(other.stdout.readline().strip()) / "pages.tmp"
    assert pages.exists()
    if is_killed:
        other.kill()
        other.wait(timeout=30)
    mine = workspace_folder(tmp_path)

    assert (not is_killed, True) == (pages.exists(), mine.parent.is_dir())
    other.communicate("end\n", timeout=30)
