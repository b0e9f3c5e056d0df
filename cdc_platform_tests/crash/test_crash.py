"""Merges, maintenance, rollbacks and publications killed at every effect; the rest is the harness's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from cdc_platform_tests.crash.publication import PUBLICATION
from cdc_platform_tests.crash.rollback import ROLLBACK
from cdc_platform_tests.crash.shapes import SHAPES
from cdc_platform_tests.crash.upkeep import DEEDS

KILLS = 208
#: What a merge writes; each is to be killed in front of, in the middle of and behind.
WRITTEN = (
    "data file",
    "delete file",
    "manifest",
    "manifest list",
    "table metadata",
    "batches object",
    "tombstones object",
    "quarantine object",
    "key index",
)


@pytest.mark.timeout(1000)
def test_a_merge_killed_anywhere_is_made_good_by_the_next_one(tmp_path: Path) -> None:
    names = [shape.name for shape in SHAPES]
    halves = (names[::2], names[1::2])
    environment = {**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "cdc_platform_tests.crash.harness", str(tmp_path)]
    started = [
        subprocess.Popen(
            [*command, "--kills", str(KILLS // 2), "--shapes", ",".join(half), "--seed", str(number)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for number, half in enumerate(halves)
    ]
    said = [process.communicate(timeout=900) for process in started]
    problems = [
        errors[-3000:] for (_, errors), process in zip(said, started, strict=True) if process.returncode
    ]
    assert [] == problems
    reports = [json.loads(output) for output, _ in said]
    killed = sum((Counter(report["points"]) for report in reports), Counter[str]())

    assert KILLS <= sum(report["kills"] for report in reports)
    assert [] == [what for what in WRITTEN if not any(point.endswith(what) for point in killed)]
    assert {"before catalog commit_table", "after catalog commit_table"} <= killed.keys()
    assert killed["a random moment"]
    assert {point for shape in SHAPES for point in shape.rare} <= killed.keys()
    assert {*DEEDS, ROLLBACK, PUBLICATION} == {deed for report in reports for deed in report["maintenance"]}
    assert 0 < sum(report["orphans_removed"] for report in reports)
