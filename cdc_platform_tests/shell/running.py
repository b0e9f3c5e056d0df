"""A real ``dagster dev`` (webserver, daemon, code server) on a folder, asked as the UI asks: by GraphQL."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import URLError
from urllib.request import Request, urlopen

ROOT = Path(__file__).parents[2]
LOCATION = {"repositoryLocationName": "cdc_platform", "repositoryName": "__repository__"}
T = TypeVar("T")

CHECKS = """query Checks($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
  assetChecksOrError { ... on AssetChecks { checks { name partitionStatuses {
    ... on AssetCheckTimePartitionStatuses { ranges { status startKey endKey } } } } } } } } }"""
PARTITIONS = """query Partitions($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
  assetPartitionStatuses { ... on TimePartitionStatuses { ranges { status startKey endKey } } } } } }"""
BACKFILL = """mutation Backfill($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
  __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
BACKFILL_STATUS = """query Status($id: String!) { partitionBackfillOrError(backfillId: $id) {
  ... on PartitionBackfill { status } } }"""


class Dagster:
    """A running Dagster at ``url``."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """Return the data of a GraphQL answer."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        with urlopen(request, timeout=60) as answer:
            found = json.load(answer)
        if found.get("errors"):
            raise RuntimeError(found["errors"][0]["message"])
        return dict(found["data"])

    def windows(self, *key: str) -> set[str]:
        """Return the materialized windows of an asset (first and last of each range)."""
        node = self.ask(PARTITIONS, key={"path": list(key)})["assetNodeOrError"]
        ranges = node["assetPartitionStatuses"]["ranges"]
        return {
            one[end] for one in ranges if one["status"] == "MATERIALIZED" for end in ("startKey", "endKey")
        }

    def checks(self, *key: str) -> dict[str, list[tuple[str, str, str]]]:
        """Return (status, first window, last window) of each check of an asset."""
        node = self.ask(CHECKS, key={"path": list(key)})["assetNodeOrError"]
        return {
            check["name"]: [
                (one["status"], one["startKey"], one["endKey"])
                for one in check["partitionStatuses"]["ranges"]
            ]
            for check in node["assetChecksOrError"]["checks"]
        }

    def backfill(self, *keys: tuple[str, ...], windows: list[str]) -> str:
        """Launch a backfill as the UI's dialog does, and return its id."""
        paths = [{"path": list(key)} for key in keys]
        params = {"assetSelection": paths, "partitionNames": windows, "fromFailure": False}
        answer = self.ask(BACKFILL, params=params)["launchPartitionBackfill"]
        if "backfillId" not in answer:
            raise RuntimeError(str(answer))
        return str(answer["backfillId"])

    def backfill_status(self, backfill: str) -> str:
        """Return REQUESTED, COMPLETED_SUCCESS, …"""
        return str(self.ask(BACKFILL_STATUS, id=backfill)["partitionBackfillOrError"]["status"])


def wait_until(probe: Callable[[], T], is_reached: Callable[[T], bool], *, seconds: float) -> T:
    """Ask ``probe`` until its answer is what is waited for, and return it. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not is_reached(found := probe()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not reached after {seconds:.0f} s; last seen: {found}")
        time.sleep(0.5)
    return found


@contextmanager
def running_dagster(folder: Path, *, seconds: float = 120) -> Iterator[Dagster]:
    """Run ``dagster dev`` with the repository's settings on the cdc.yaml in ``folder``."""
    home = folder / "dagster-home"
    home.mkdir(exist_ok=True)
    (home / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    port = _free_port()
    command = [
        "dev",
        "--workspace",
        str(ROOT / "workspace.yaml"),
        "--port",
        str(port),
        "--log-level",
        "warning",
    ]
    with (folder / "dagster.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "dagster", *command],
            cwd=folder,
            env=os.environ | {"DAGSTER_HOME": str(home), "CDC_CONFIG": str(folder / "cdc.yaml")},
            stdout=log,
            stderr=log,
        )
        try:
            dagster = Dagster(f"http://127.0.0.1:{port}")
            wait_until(lambda: _is_up(dagster, process, folder / "dagster.log"), bool, seconds=seconds)
            yield dagster
        finally:
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(60)
            process.kill()
            process.wait()


def _is_up(dagster: Dagster, process: subprocess.Popen[bytes], log: Path) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"dagster dev ended with {process.returncode}:\n{log.read_text()[-4000:]}")
    with suppress(URLError, ConnectionError, TimeoutError):
        found = dagster.ask("{ assetNodes { id } }")
        return bool(found["assetNodes"])
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
