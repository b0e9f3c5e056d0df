"""The fault switch: arming, spending, clearing, over HTTP and across restarts."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cdc_platform.errors import LocalServiceError
from cdc_platform.local.endpoint import DmsEndpoint
from cdc_platform.local.faults import (
    FAULT_KINDS,
    STOP_REASONS,
    FaultSwitchboard,
    arm_fault,
    armed_faults,
    clear_faults,
    endpoint_health,
    stop_reason,
)
from cdc_platform.local.store import ApiStore
from cdc_platform_tests.local.conftest import LocalDms
from cdc_platform_tests.local.scripted_engine import ScriptedEngine


@pytest.fixture
def switch(tmp_path: Path) -> Iterator[FaultSwitchboard]:
    store = ApiStore(tmp_path / "store.sqlite")
    yield FaultSwitchboard(store)
    store.close()


def test_a_fault_is_met_once(switch: FaultSwitchboard) -> None:
    switch.arm({"fault": "drop-file"})

    assert switch.take("copy", "drop-file", "public.product") == {}
    assert switch.take("copy", "drop-file", "public.product") is None


def test_a_fault_armed_several_times_is_counted_down(switch: FaultSwitchboard) -> None:
    switch.arm({"fault": "duplicate-file", "times": 2})

    outcomes = [switch.take("copy", "duplicate-file", "public.product") for _ in range(3)]

    assert outcomes == [{}, {}, None]


def test_a_fault_waits_for_its_own_task_and_table(switch: FaultSwitchboard) -> None:
    switch.arm({"fault": "delay-file", "task": "copy", "table": "public.product", "options": {"files": 3}})

    assert switch.take("other", "delay-file", "public.product") is None
    assert switch.take("copy", "delay-file", "public.store") is None
    assert switch.take("copy", "drop-file", "public.product") is None
    assert switch.take("copy", "delay-file", "public.product") == {"files": 3}


def test_options_that_may_be_left_out_have_defaults(switch: FaultSwitchboard) -> None:
    switch.arm({"fault": "delay-file"})
    switch.arm({"fault": "reemit-after-resume"})

    assert switch.take("copy", "delay-file") == {"files": 1}
    assert switch.take("copy", "reemit-after-resume") == {"transactions": 1}


def test_a_fault_asked_for_by_many_threads_is_met_once(switch: FaultSwitchboard) -> None:
    switch.arm({"fault": "drop-file", "times": 5})
    met: list[object] = []

    def ask() -> None:
        met.extend(
            filter(lambda found: found is not None, (switch.take("t", "drop-file") for _ in range(10)))
        )

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(met) == 5


@pytest.mark.parametrize(
    ("request_body", "message"),
    [
        ({"fault": "explode"}, "'explode' is not a fault → arm one of duplicate-file"),
        ({"fault": "drop-file", "colour": "red"}, "unknown member 'colour'"),
        ({"fault": "drop-file", "times": 0}, "times is 0"),
        ({"fault": "drop-file", "times": True}, "times is True"),
        ({"fault": "drop-file", "task": 7}, "task is 7"),
        ({"fault": "drop-file", "options": {"files": 1}}, "drop-file has no option 'files'"),
        ({"fault": "delay-file", "options": {"files": "many"}}, "delay-file.files is 'many'"),
        ({"fault": "delay-file", "options": [1]}, "options is not an object"),
        ({"fault": "stop"}, "stop needs the option 'reason' → one of NORMAL"),
        ({"fault": "stop", "options": {"reason": "BORED"}}, "'BORED' is not a stop reason of DMS"),
    ],
)
def test_a_wrong_fault_is_refused_with_what_is_right(
    dms: LocalDms, request_body: dict[str, Any], message: str
) -> None:
    request = urllib.request.Request(
        f"{dms.endpoint.url}/_local/faults",
        data=json.dumps(request_body).encode(),
        headers={"Content-Type": "application/json"},
    )

    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(request, timeout=10)

    with raised.value as answer:
        assert answer.code == 400
        assert message in json.load(answer)["message"]


@pytest.mark.parametrize("reason", STOP_REASONS)
def test_every_stop_reason_of_dms_can_be_armed(switch: FaultSwitchboard, reason: str) -> None:
    switch.arm({"fault": "stop", "options": {"reason": reason}})

    assert switch.take("copy", "stop") == {"reason": f"Stop Reason {reason}"}
    assert stop_reason(f"Stop Reason {reason}") == f"Stop Reason {reason}"


@pytest.mark.parametrize("kind", FAULT_KINDS)
def test_faults_are_armed_listed_and_cleared_over_http(dms: LocalDms, kind: str) -> None:
    url = dms.endpoint.url
    options = {"reason": "FATAL_ERROR"} if kind == "stop" else {}
    armed = arm_fault(url, kind, task="copy", table="public.product", times=2, options=options)
    other = arm_fault(url, "drop-file")

    assert armed_faults(url) == [armed, other]
    assert clear_faults(url, armed["id"]) == 1
    assert armed_faults(url) == [other]
    assert clear_faults(url) == 1
    assert armed_faults(url) == []


def test_an_armed_fault_outlives_the_endpoint(tmp_path: Path) -> None:
    with DmsEndpoint(tmp_path / "dms", ScriptedEngine(), tmp_path / "raw") as first:
        arm_fault(first.url, "drop-file", times=2)
        first.faults.take("copy", "drop-file")

    with DmsEndpoint(tmp_path / "dms", ScriptedEngine(), tmp_path / "raw") as second:
        again = arm_fault(second.url, "delay-file")

        assert [("drop-file", 1), ("delay-file", 1)] == [
            (fault["fault"], fault["times"]) for fault in armed_faults(second.url)
        ]
        assert again["id"] == 2


def test_health_counts_tasks_and_names_the_raw_root(dms: LocalDms, tmp_path: Path) -> None:
    dms.start(dms.task())

    health = endpoint_health(dms.endpoint.url)

    assert health["tasks"] == {"running": 1}
    assert health["raw_root"] == str(tmp_path / "raw")


def test_an_endpoint_that_does_not_run_is_named_with_the_mend() -> None:
    with pytest.raises(LocalServiceError, match=r"does not answer.*start it: cdc local up"):
        armed_faults("http://127.0.0.1:9")
