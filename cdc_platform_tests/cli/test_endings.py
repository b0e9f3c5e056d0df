"""How commands end: exit codes, and faults as messages."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cdc_platform.cli import applying, main
from cdc_platform.cli.exits import ExitCode, report_fault
from cdc_platform.errors import MergeError
from cdc_platform.local.demo_stage import start_again
from cdc_platform.testing import write_load_file
from cdc_platform_tests.cli.conftest import Cdc

COMMANDS = [
    *("demo", "up", "apply", "reconcile", "complete-load", "status", "discover", "replicate", "check-config"),
    *("schema", "prepare-manifest", "quarantine list", "quarantine release", "quarantine discard"),
    *("local up", "local down", "local status", "local fault"),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_teaches_by_an_example(cdc: Cdc, command: str) -> None:
    shown = cdc(*command.split(), "--help")

    assert 0 == shown.code
    assert "Example" in shown.out


def test_the_help_explains_the_exit_codes(cdc: Cdc) -> None:
    told = cdc("--help").out

    assert "Exit codes: 0 fine" in told
    assert "130 interrupted" in told


def test_a_missing_configuration_is_a_message_and_no_traceback(cdc: Cdc) -> None:
    done = cdc("status", "--config", "nowhere.yaml")

    assert ExitCode.USAGE == done.code
    assert "nowhere.yaml" in done.err
    assert "Traceback" not in done.err


def test_debug_shows_the_traceback_wherever_it_stands(cdc: Cdc) -> None:
    assert "Traceback" in cdc("status", "--config", "nowhere.yaml", "--debug").err


def test_an_unknown_command_is_a_usage_error(cdc: Cdc) -> None:
    assert ExitCode.USAGE == cdc("aply").code


def test_an_interruption_is_told_with_its_code(cdc: Cdc, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(applying, "open_platform", interrupted)
    done = cdc("apply")

    assert ExitCode.INTERRUPTED == done.code
    assert "interrupted; what was done stays" in done.err


def test_the_end_of_a_file_within_a_command_is_a_fault_and_no_finding(
    cdc: Cdc, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(*_: object) -> None:
        raise EOFError("read 1 bytes")

    monkeypatch.setattr(applying, "open_platform", ended)
    done = cdc("apply")

    assert ExitCode.FAILED == done.code
    assert "unexpected EOFError: read 1 bytes" in done.err


def test_a_fault_says_what_where_and_the_mend(capsys: pytest.CaptureFixture[str]) -> None:
    code = report_fault(MergeError("it broke", where="shop/orders", mend="do this"), debug=False)

    assert ExitCode.FAILED == code
    assert "error: it broke\nwhere: shop/orders\nmend:  do this\n" == capsys.readouterr().err


def test_a_fault_of_our_own_is_named_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    code = report_fault(RuntimeError("password=hunter2"), debug=True)

    assert ExitCode.FAILED == code
    told = capsys.readouterr().err
    assert "unexpected RuntimeError" in told
    assert "hunter2" not in told


def test_an_interruption_has_the_shell_s_own_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert ExitCode.INTERRUPTED == report_fault(KeyboardInterrupt(), debug=False)


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])

    assert 0 == ended.value.code
    assert capsys.readouterr().out.startswith("cdc-platform 0.")


def test_local_services_that_are_down_are_said_to_be(cdc: Cdc) -> None:
    done = cdc("local", "status", "--folder", "services")

    assert ExitCode.FOUND == done.code
    assert "PostgreSQL is down\nDMS endpoint is down\n" == done.out


def test_a_fault_cannot_be_armed_while_the_endpoint_is_down(cdc: Cdc) -> None:
    done = cdc("local", "fault", "duplicate-file", "--folder", "services")

    assert ExitCode.FAILED == done.code
    assert "mend:  start it: cdc local up" in done.err


def test_an_unknown_fault_is_a_usage_error_that_names_those_there_are(cdc: Cdc) -> None:
    done = cdc("local", "fault", "nope", "--folder", "services")

    assert ExitCode.USAGE == done.code
    assert "'nope' is not a fault" in done.err
    assert "duplicate-file" in done.err


def test_no_example_names_a_folder_of_one_machine(cdc: Cdc) -> None:
    assert [] == [command for command in COMMANDS if "/tmp" in cdc(*command.split(), "--help").out]


def test_the_way_to_start_a_demo_s_services_again_is_a_command_there_is(cdc: Cdc) -> None:
    words = shlex.split(start_again(Path("a folder"), "http://127.0.0.1:7433"))

    assert ["local", "up", "--folder", "a folder/local", "--port", "7433"] == words
    # unknown options are refused before the help is shown
    assert (0, 2) == (cdc(*words, "--help").code, cdc(*words, "--prot", "1", "--help").code)


@pytest.mark.parametrize(("module", "extra"), [("psutil", "local"), ("pyspark", "spark"), ("dbt.cli", "dbt")])
def test_a_library_that_is_not_installed_is_told_with_its_extra(
    capfd: pytest.CaptureFixture[str], module: str, extra: str
) -> None:
    code = report_fault(ModuleNotFoundError(f"No module named {module!r}", name=module), debug=False)
    told = capfd.readouterr().err

    assert ExitCode.FAILED == code
    assert f"pip install 'cdc-platform[{extra}]'" in told
    assert "fault of cdc" not in told


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("ascii", ["1   a\\xfc->\\u4e2d", "2   -"]), ("latin-1", ["1   aü->\\u4e2d", "2   -"])],
)
def test_signs_the_terminals_encoding_lacks_are_written_plainer_or_escaped(
    project: Path, cdc: Cdc, encoding: str, shown: list[str]
) -> None:
    rows = [{"id": 1, "note": "aü→中"}, {"id": 2, "note": None}]
    write_load_file(project / "raw", "public", "orders", rows, at=datetime(2024, 6, 1, tzinfo=UTC))
    cdc("apply")

    told = in_encoding(project, encoding, "show", "orders", "--columns", "id,note", "--where", "id < 3")

    assert shown == sorted(line.rstrip() for line in told.splitlines()[1:])


def test_json_is_the_same_in_every_encoding(project: Path, cdc: Cdc) -> None:
    rows = [{"id": 1, "note": "aü→中"}]
    write_load_file(project / "raw", "public", "orders", rows, at=datetime(2024, 6, 1, tzinfo=UTC))
    cdc("apply")

    told = in_encoding(project, "ascii", "inspect", "orders", "--key", "1", "--json")

    assert "aü→中" == json.loads(told)["rows"][0]["values"]["note"]


def in_encoding(folder: Path, encoding: str, *arguments: str) -> str:
    """Run ``cdc`` where its streams are of ``encoding``, and return what it wrote to stdout."""
    run = [sys.executable, "-c", "from cdc_platform.cli import main; main()", *arguments]
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = subprocess.run(run, cwd=folder, env=environment, capture_output=True, check=True)
    return done.stdout.decode(encoding)
