"""The scripts of the bench run, check what they measure, and report it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from bench import full_load, growth, memory, merge_speed, report
from bench.children import run_child
from bench.competitors.task import Task

ROWS, CHANGES = "3000", "600"


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data sets of all scripts."""
    return tmp_path_factory.mktemp("bench")


def measured(
    script: Callable[[Sequence[str]], None], name: str, workdir: Path, results: Path, *arguments: str
) -> list[dict[str, Any]]:
    """Run a script at toy size and return the entries it left."""
    script(["--workdir", str(workdir), "--rows", ROWS, "--results", str(results), *arguments])
    entries: list[dict[str, Any]] = json.loads((results / f"{name}.json").read_text())["entries"]
    return entries


@pytest.mark.parametrize("key", ["bigint", "pair"])
def test_merges_are_measured_side_by_side_and_checked(workdir: Path, tmp_path: Path, key: str) -> None:
    names = ["product", "limit", *(["upsert", "rewrite"] if key == "bigint" else [])]
    entries = measured(
        merge_speed.main,
        "merge_speed",
        workdir,
        tmp_path,
        *("--key", key, "--changes", "100", "--repeat", "1", "--only", *names),
    )

    assert names == [entry["competitor"] for entry in entries]
    assert [] == [entry["failure"] for entry in entries if "failure" in entry]
    assert all(entry["seconds"] > 0 and entry["peak_rss"] > 2**20 for entry in entries)


def test_a_run_is_resumed_where_it_ended(
    workdir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--key", "bigint", "--changes", CHANGES, "--only", "limit")
    measured(merge_speed.main, "merge_speed", workdir, tmp_path, *options)
    capsys.readouterr()
    measured(merge_speed.main, "merge_speed", workdir, tmp_path, *options, "--resume")

    assert "limit" not in capsys.readouterr().out


def test_a_competitor_that_is_not_installed_is_told(workdir: Path, tmp_path: Path) -> None:
    task = Task(str(workdir), "bigint", int(ROWS))

    outcome = run_child("bench.competitors.delta_rs", task, python=tmp_path / "no-python")

    assert outcome.answer is None
    assert outcome.failure is not None
    assert "make bench-env" in outcome.failure


def test_a_child_that_fails_or_hangs_is_told(workdir: Path) -> None:
    nothing = Task(str(workdir), "bigint", 17)

    failed = run_child("bench.competitors.limit", nothing)
    late = run_child("bench.competitors.limit", nothing, timeout=0)

    assert failed.failure is not None
    assert "cdc.yaml" in failed.failure
    assert "not finished after 0 s" == late.failure


def test_full_loads_are_measured_against_pyarrow(workdir: Path, tmp_path: Path) -> None:
    entries = measured(full_load.main, "full_load", workdir, tmp_path)

    assert ["pyarrow", "pyarrow-threads", "product"] == [entry["competitor"] for entry in entries]
    assert [] == [entry["failure"] for entry in entries if "failure" in entry]


def test_growth_is_measured_between_two_sizes(workdir: Path, tmp_path: Path) -> None:
    options = ("--only", "recent", "--large", "6000", "--changes", CHANGES, "--repeat", "1", "--drop")
    entries = measured(growth.main, "growth", workdir, tmp_path, *options)

    assert [3000, 6000] == [entry["rows"] for entry in entries]
    assert [] == [entry["failure"] for entry in entries if "failure" in entry]
    assert not (workdir / "bigint-6000").exists()


def test_memory_is_measured_with_the_one_setting(workdir: Path, tmp_path: Path) -> None:
    options = ("--only", "load", "merge", "--changes", CHANGES, "--memory-limit", "500MB")
    entries = measured(memory.main, "memory", workdir, tmp_path, *options)

    assert ["load", "merge"] == [entry["case"] for entry in entries]
    assert [] == [entry["failure"] for entry in entries if "failure" in entry]
    assert all(entry["peak_rss"] >= entry["peak_anonymous"] > 2**20 for entry in entries)


def test_a_report_goes_between_its_marks_and_nowhere_else(tmp_path: Path) -> None:
    machine = {"cores": 2, "cpu": "a", "memory_gib": 24}
    common = {"rows": 10, "key": "bigint", "changes": 5, "commit": "c", "load_average": 1.0}
    times = {"product": 0.5, "delta-rs": 6.0}
    entries = [{**common, "run": "r", "competitor": name, "seconds": time} for name, time in times.items()]
    (tmp_path / "merge_speed.json").write_text(json.dumps({"machine": machine, "entries": entries}))
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- results: merge_speed -->\nlast year\n<!-- end -->\nafter\n")

    report.main(["--results", str(tmp_path), "--page", str(page)])

    text = page.read_text()
    assert text.startswith("before\n<!-- results: merge_speed -->\n")
    assert text.endswith("<!-- end -->\nafter\n")
    assert "last year" not in text
    assert "| bigint | 5 | 0.50 s |  | 6.00 s · **12.0×** |" in text


def test_ratios_of_two_runs_are_marked() -> None:
    product = {"run": "1", "seconds": 1.0}
    other = {"run": "2", "seconds": 8.0}

    assert "8.00 s · **8.0×** (another run)" == report.against(product, other, "spark")
