"""A small project folder with real raw files, and the command as a user runs it, in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cdc_platform.cli import main
from cdc_platform.testing import write_change_file, write_load_file

CONFIG = """\
version: 1
lake: {warehouse: warehouse}
sources:
  shop:
    raw: {location: raw}
    window: {every: daily, start: 2024-05-01}
    tables:
      - name: public.orders
        merge_key: [id]
"""


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code and both streams."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Cdc = Callable[..., Outcome]


@pytest.fixture
def cdc(capfd: pytest.CaptureFixture[str], project: Path, monkeypatch: pytest.MonkeyPatch) -> Cdc:
    """Run ``cdc`` with arguments in the project's folder."""
    monkeypatch.chdir(project)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> Outcome:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        out, err = capfd.readouterr()
        return Outcome(int(ended.value.code or 0), out, err)

    return run


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with cdc.yaml and one table: a full load of two rows, then an update and an insert."""
    (tmp_path / "cdc.yaml").write_text(CONFIG)
    raw = tmp_path / "raw"
    load, change = datetime(2024, 5, 31, 8, tzinfo=UTC), datetime(2024, 5, 31, 20, tzinfo=UTC)
    write_load_file(raw, "public", "orders", [{"id": 1, "note": "a"}, {"id": 2, "note": "b"}], at=load)
    events = [{"Op": "U", "id": 1, "note": "a2"}, {"Op": "I", "id": 3, "note": "c"}]
    write_change_file(raw, "public", "orders", at=change, events=events)
    return tmp_path
