"""Plants faults in the reconciliation, one at a time, and demands that a test sees each.

    python -m bench.mutants                   all of them
    python -m bench.mutants --resume          those the newest run has not got to
    python -m bench.mutants XOR salt          those with one of the words in their name

Each fault is planted in a copy of the package, so nothing here changes while it runs. The tests run in forks
of one process that has imported what is not ours, and share one PostgreSQL. A mutant that survives is a
failure at the end.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bench.mutant import Mutant
from bench.mutant_list import MUTANTS
from bench.results import Results

ROOT = Path(__file__).resolve().parents[1]
_PARTS = ("cdc_platform", "cdc_platform_tests", "bench")
_LONGEST_SECONDS = 300
_NOT_OURS = (
    *("pytest", "hypothesis", "duckdb", "psycopg", "numpy", "pydantic", "dagster", "pyarrow.parquet"),
    *(
        "pyarrow.compute",
        "pyarrow.dataset",
        "pyiceberg.table",
        "pyiceberg.io.pyarrow",
        "pyiceberg.catalog.sql",
    ),
)
_SERVER = "from cdc_platform.local.postgres import EmbeddedPostgres as P; import pathlib, sys; "


def mutated(mutant: Mutant, text: str) -> str:
    """Return the module's text with the fault. Raises ValueError unless its place is there just once."""
    if text.count(mutant.old) != 1:
        raise ValueError(
            f"{mutant.name}: {mutant.old!r} stands {text.count(mutant.old)} times in {mutant.module}"
        )
    return text.replace(mutant.old, mutant.new)


class _Watcher:
    """A pytest plugin: gives the running PostgreSQL to the tests, and notes the first failure."""

    def __init__(self, server: Path) -> None:
        self._server, self.failed = server, ""

    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> Any:
        if fixturedef.argname != "postgres_server":
            return None
        from cdc_platform.local.postgres import EmbeddedPostgres

        server = EmbeddedPostgres(self._server, durable=False)
        fixturedef.cached_result = (server, fixturedef.cache_key(request), None)
        return server

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.failed = self.failed or report.nodeid

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.failed = self.failed or f"{report.nodeid} (cannot be imported)"


def hunt(mutant: Mutant, copy: Path, server: Path) -> dict[str, Any]:
    """Plant the fault in the copy, run its tests until one fails, and take the fault out again."""
    path = copy / "cdc_platform" / mutant.module
    sound, outcome = path.read_text(), copy / "outcome.json"
    path.write_text(mutated(mutant, sound))
    outcome.unlink(missing_ok=True)
    started = time.perf_counter()
    child = os.fork()
    if not child:
        _test(mutant, copy, server, outcome)
    killed_by = "" if _ended(child) else f"no end within {_LONGEST_SECONDS} s"
    path.write_text(sound)
    if not killed_by:
        found = json.loads(outcome.read_text()) if outcome.exists() else {"code": -1}
        if found["code"] not in (0, 1):
            raise SystemExit(
                f"{mutant.name}: the tests could not be run\n{(copy / 'out').read_text()[-3000:]}"
            )
        killed_by = found["failed"].removeprefix("cdc_platform_tests/")
    return {"killed_by": killed_by, "seconds": round(time.perf_counter() - started, 1)}


def _test(mutant: Mutant, copy: Path, server: Path, outcome: Path) -> None:
    """Run the tests of a mutant in this process, which ends then."""
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.chdir(copy)
    output = os.open(copy / "out", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.environ |= {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    sys.dont_write_bytecode = True
    sys.path[:] = [str(copy), *(one for one in sys.path if Path(one or ".").resolve() != ROOT)]
    for name in [name for name in sys.modules if name.partition(".")[0] in _PARTS]:
        del sys.modules[name]
    import pytest

    watcher = _Watcher(server)
    tests = [f"cdc_platform_tests/{name}" for name in mutant.tests]
    ignored = "ignore:Module already imported:pytest.PytestAssertRewriteWarning"
    code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-W", ignored, *tests], plugins=[watcher])
    outcome.write_text(json.dumps({"code": int(code), "failed": watcher.failed}))
    os._exit(0)


def _ended(child: int) -> bool:
    """Wait for a child; one that takes too long is ended, with all it has started."""
    deadline = time.monotonic() + _LONGEST_SECONDS
    while time.monotonic() < deadline:
        if os.waitpid(child, os.WNOHANG)[0]:
            return True
        time.sleep(0.05)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


@contextmanager
def _ground(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Make the copy and start the PostgreSQL; return where both are."""
    copy, server = folder / "copy", folder / "server"
    copy.mkdir()
    for part in _PARTS:
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("results"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    serve = [
        sys.executable,
        "-c",
        f"{_SERVER}getattr(P(pathlib.Path(sys.argv[1]), durable=False), sys.argv[2])()",
    ]
    subprocess.run([*serve, str(server), "start"], cwd=ROOT, check=True)
    try:
        with warnings.catch_warnings(action="ignore"):
            for name in _NOT_OURS:
                importlib.import_module(name)
        yield copy, server
    finally:
        subprocess.run([*serve, str(server), "stop"], cwd=ROOT, check=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, hunt the mutants and keep what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", nargs="*", help="only mutants with one of these in their name")
    parser.add_argument("--resume", action="store_true", help="go on with the newest run")
    chosen = parser.parse_args(argv)
    # what is asked to end puts away what it has started
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("it was ended"))
    wanted = [one for one in MUTANTS if not chosen.words or any(word in one.name for word in chosen.words)]
    results = Results("mutants")
    results.run = (results.last_run() if chosen.resume else None) or results.run
    with (
        tempfile.TemporaryDirectory(prefix="cdc-mutants-") as folder,
        _ground(Path(folder)) as (copy, server),
    ):
        for mutant in wanted:
            what = {"mutant": mutant.name, "module": mutant.module}
            if chosen.resume and results.has(**what):
                continue
            found = hunt(mutant, copy, server)
            results.add(what, found)
            print(f"{mutant.name}: {found['killed_by'] or 'SURVIVES'} ({found['seconds']} s)", flush=True)
    _conclude(results, wanted)


def _conclude(results: Results, wanted: Sequence[Mutant]) -> None:
    """Keep the results of mutants there are, and say which survive."""
    known = {(one.name, one.module) for one in MUTANTS}
    results.entries = [one for one in results.entries if (one["mutant"], one["module"]) in known]
    results.write()
    names = {one.name for one in wanted}
    survivors = [e["mutant"] for e in results.entries if e["mutant"] in names and not e["killed_by"]]
    print(f"{len(wanted) - len(survivors)} of {len(wanted)} mutants were killed")
    if survivors:
        raise SystemExit(f"these survive: {'; '.join(survivors)}")


if __name__ == "__main__":
    main()
