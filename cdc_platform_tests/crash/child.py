"""A process forked to do one thing with a lake, and perhaps to be killed while it does it."""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cdc_platform.config.model import EngineConfig
from cdc_platform.lake.catalog import Lake, open_lake
from cdc_platform_tests.lake.conftest import lake_config

_SET_DEATH_SIGNAL = 1
DEADLINE_SECONDS = 180.0  # a child that takes longer hangs


class Child:
    """A forked process that does one thing with a lake it opens itself."""

    def __init__(self, folder: Path, deed: Callable[[Lake, int], Any]) -> None:
        self._read, told = os.pipe()
        self.started = time.monotonic()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._read)
            self._do(folder, deed, told)
        os.close(told)

    def _do(self, folder: Path, deed: Callable[[Lake, int], Any], told: int) -> None:
        # should the parent fail, nobody is left to stop this one
        ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
        try:
            engine = EngineConfig(threads=1, memory_limit="500MB")
            with open_lake(lake_config(folder).model_copy(update={"engine": engine})) as lake:
                answer = deed(lake, told)
            os.write(told, json.dumps(answer).encode())
            os._exit(0)
        except BaseException:
            os.write(told, traceback.format_exc().encode())
            os._exit(1)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def wait(self, *, kill_after: float | None = None) -> tuple[int, str]:
        """Return (exit code or minus the signal, what it said); kill it after so many seconds."""
        said = b""
        limit = DEADLINE_SECONDS if kill_after is None else kill_after
        while True:
            left = self.started + limit - time.monotonic()
            ready, _, _ = select.select([self._read], [], [], max(left, 0))
            if not ready:
                self.kill()
                limit = DEADLINE_SECONDS
                continue
            part = os.read(self._read, 65_536)
            if not part:
                break
            said += part
        os.close(self._read)
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status), said.decode()
