"""Where files get their names and become visible, and where the fault switch meets them.

Names and modification times come from one clock that never goes back and never gives a moment twice, so
that whatever the machine's clock does, a later file of a task is later by name, and a LOAD file lies between
the change files before and after it.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from cdc_platform.local.contract import FaultSwitch
from cdc_platform.local.engine.options import FileOptions
from cdc_platform.local.engine.output import PARTIAL, OutputFile
from cdc_platform.local.engine.state import LogPosition

_DATE_FORMATS: Mapping[str, tuple[str, ...]] = {
    "YYYYMMDD": ("%Y", "%m", "%d"),
    "YYYYMMDDHH": ("%Y", "%m", "%d", "%H"),
    "YYYYMM": ("%Y", "%m"),
    "MMYYYYDD": ("%m", "%Y", "%d"),
    "DDMMYYYY": ("%d", "%m", "%Y"),
}


class NameClock:
    """Strictly ascending milliseconds; ``last_ms`` continues an earlier run."""

    def __init__(self, last_ms: int = 0) -> None:
        self.last_ms = last_ms

    def next_ms(self) -> int:
        """Return a moment no earlier call returned: now, or just after the last one."""
        self.last_ms = max(time.time_ns() // 1_000_000, self.last_ms + 1)
        return self.last_ms

    def wait_for_next_second(self) -> None:
        """Wait until the clock's second is past the last moment's: S3 lists files by whole seconds."""
        while time.time_ns() // 1_000_000_000 <= self.last_ms // 1000:
            time.sleep(0.01)


class TablePlace(Protocol):
    """A table as the publisher needs it."""

    @property
    def id(self) -> str: ...

    @property
    def folder(self) -> Path: ...


@dataclass(slots=True)
class _Held:
    partial: Path
    final: Path
    files_to_go: int
    #: The position before its first change, which the checkpoint waits at; None: it runs ahead of the file.
    first_change: LogPosition | None


class Publisher:
    """Publishes the files of one task's run."""

    def __init__(self, task: str, options: FileOptions, clock: NameClock, faults: FaultSwitch) -> None:
        self._task = task
        self._options = options
        self._faults = faults
        self._held: list[_Held] = []
        self.clock = clock

    def publish_load(self, file: OutputFile, table: TablePlace, counter: int) -> Path:
        """Make a file of a full load visible as ``LOAD%08X``."""
        final = table.folder / f"LOAD{counter:08X}.{self._options.extension}"
        partial = file.finish()
        moment = self.clock.next_ms() * 1_000_000
        os.utime(partial, ns=(moment, moment))
        partial.replace(final)
        return final

    def publish_changes(self, file: OutputFile, table: TablePlace, first_change: LogPosition) -> None:
        """Make a change file visible under its time, or do to it what an armed fault says."""
        partial, final = file.finish(), self._change_path(table)
        if self._take("drop-file", table) is not None:
            partial.unlink()
            return
        for fault, waits_at in (("delay-file", first_change), ("report-ahead", None)):
            armed = self._take(fault, table)
            if armed is not None:
                self._held.append(_Held(partial, final, int(armed.get("files", 1)), waits_at))
                return
        _move(partial, final)
        if self._take("duplicate-file", table) is not None:
            copy = table.folder / f".{final.name}{PARTIAL}"
            shutil.copyfile(final, copy)
            _move(copy, self._change_path(table))
        self._count_down()

    def publish_held(self) -> None:
        """Make every delayed file visible."""
        for held in self._held:
            _move(held.partial, held.final)
        self._held.clear()

    def discard_held(self) -> None:
        """Give up the delayed files: the run failed and their changes will be read again."""
        for held in self._held:
            held.partial.unlink(missing_ok=True)
        self._held.clear()

    @property
    def oldest_held(self) -> LogPosition | None:
        """The position before the first change in a delayed file that the checkpoint waits for."""
        places = (held.first_change for held in self._held)
        return min((place for place in places if place is not None), default=None)

    def _take(self, fault: str, table: TablePlace) -> Mapping[str, Any] | None:
        return self._faults.take(self._task, fault, table.id)

    def _count_down(self) -> None:
        for held in self._held:
            held.files_to_go -= 1
        due = [held for held in self._held if held.files_to_go <= 0]
        self._held = [held for held in self._held if held.files_to_go > 0]
        for held in due:
            _move(held.partial, held.final)

    def _change_path(self, table: TablePlace) -> Path:
        while True:
            moment = self.clock.next_ms()
            local = datetime.fromtimestamp(moment // 1000, UTC)
            if self._options.time_zone is not None:
                local = local.astimezone(self._options.time_zone)
            name = f"{local:%Y%m%d-%H%M%S}{moment % 1000:03d}.{self._options.extension}"
            path = table.folder / self._date_folder(local) / name
            # in a zone with daylight saving an hour of names comes twice
            if not path.exists():
                return path

    def _date_folder(self, local: datetime) -> str:
        if self._options.date_sequence is None:
            return ""
        parts = _DATE_FORMATS[self._options.date_sequence]
        return self._options.date_delimiter.join(local.strftime(part) for part in parts)


def remove_partials(folder: Path) -> None:
    """Remove what a killed run left half-written in a table's folder."""
    for partial in folder.glob(f".*{PARTIAL}"):
        partial.unlink(missing_ok=True)


def remove_files(folder: Path) -> None:
    """Empty a table's folder, as TRUNCATE_BEFORE_LOAD and DROP_AND_CREATE do at an S3 target."""
    if folder.exists():
        shutil.rmtree(folder)


def _move(partial: Path, final: Path) -> None:
    final.parent.mkdir(parents=True, exist_ok=True)
    partial.replace(final)
