"""The prepared layer: dbt models over the base tables, built by dbt in a process of its own.

Models read a base table by ``iceberg_scan`` of one metadata file. Which file is current changes with every
merge, so :func:`prepared_vars` asks the catalog just before a build: one build reads one snapshot of each.
DuckDB's extensions come from their wheels into a folder of ours: nothing is downloaded.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cdc_platform.errors import ConfigError, JobFailed, JobTimedOut

if TYPE_CHECKING:
    from cdc_platform.config.model import PlatformConfig, PreparedOptions
    from cdc_platform.lake.catalog import Lake

BUILD_SECONDS = 1800
#: What the script `dbt` does; by the interpreter, so that no PATH decides which dbt runs.
_RUN_DBT = "import sys; from dbt.cli.main import cli; sys.argv[0] = 'dbt'; cli()"
_WENT_WRONG = ("fail", "error", "skipped", "runtime error")


@dataclass(frozen=True, slots=True)
class BuiltNode:
    """What became of one model or test. ``status`` is dbt's: success, pass, warn, fail, error, skipped."""

    name: str
    kind: str
    status: str
    message: str
    seconds: float


@dataclass(frozen=True, slots=True)
class PreparedBuild:
    """The outcome of one ``dbt build``."""

    nodes: tuple[BuiltNode, ...]

    @property
    def failed(self) -> tuple[BuiltNode, ...]:
        """Models and tests that went wrong, or were left out because something before them did."""
        return tuple(node for node in self.nodes if node.status in _WENT_WRONG)

    def count(self, kind: str) -> int:
        """Return how many nodes of ``kind`` (``model``, ``test``) were built."""
        return sum(node.kind == kind for node in self.nodes)


def project_folder(config: PlatformConfig) -> Path:
    """Return the folder of the dbt project. Raises ConfigError when there is none."""
    folder = Path(config.path_of(_options(config).project))
    if not (folder / "dbt_project.yml").is_file():
        mend = "set it to the folder that holds dbt_project.yml, or remove `prepared`"
        raise ConfigError("cdc.yaml", [("prepared.project", f"{folder} is no dbt project", mend)])
    return folder


def prepared_vars(lake: Lake) -> dict[str, Any]:
    """Return dbt's ``--vars``: for each base table there is, the metadata file that is current now."""
    from cdc_platform.lake.base_files import local_path

    tables: dict[str, str] = {}
    for source, settings in lake.config.sources.items():
        for configured in settings.tables:
            table = lake.load_published(source, configured.id)
            if table is not None and table.current_snapshot() is not None:
                tables[f"{source}.{configured.id}"] = local_path(table.metadata_location)
    return {"base_tables": tables}


def dbt_environment(config: PlatformConfig) -> dict[str, str]:
    """Return the variables ``profiles.yml`` reads; install missing extensions of DuckDB."""
    from cdc_platform.lake.read import extension_folder, install_extensions

    options = _options(config)
    install_extensions(config)
    database = Path(config.path_of(options.database))
    database.parent.mkdir(parents=True, exist_ok=True)
    return {
        "CDC_PREPARED_DATABASE": str(database),
        "CDC_PREPARED_MEMORY_LIMIT": options.memory_limit,
        "CDC_DUCKDB_EXTENSIONS": str(extension_folder(config)),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }


def build_manifest(config: PlatformConfig) -> Path:
    """Make ``target/manifest.json`` of the dbt project, which Dagster loads; return its path."""
    target = project_folder(config) / "target"
    target.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target, prefix="parse-") as made:
        _dbt(config, ["parse"], target=Path(made))
        # Renamed into place: a code location that loads meanwhile never reads half a manifest.
        for name in ("partial_parse.msgpack", "manifest.json"):
            (Path(made) / name).replace(target / name)
    return target / "manifest.json"


def build_prepared(config: PlatformConfig, lake: Lake, *, select: Sequence[str] = ()) -> PreparedBuild:
    """Run ``dbt build`` on the current base tables; ``select`` narrows it as dbt's own option does.

    Failed models and tests are in the outcome. Raises JobFailed when dbt could not run at all.
    """
    target = Path(config.path_of(_options(config).database)).parent / "dbt-target"
    results = target / "run_results.json"
    results.unlink(missing_ok=True)
    chosen = ["--select", *select] if select else []
    arguments = ["build", "--vars", json.dumps(prepared_vars(lake)), *chosen]
    output = _dbt(config, arguments, target=target, check=False)
    if not results.exists():
        what = f"dbt build did not run: {_tail(output)}"
        raise JobFailed(what, where=str(project_folder(config)), mend="mend the project, then build again")
    return PreparedBuild(tuple(_node(result) for result in json.loads(results.read_text())["results"]))


def _node(result: dict[str, Any]) -> BuiltNode:
    kind, _, name = result["unique_id"].split(".")[:3]
    return BuiltNode(name, kind, result["status"], result["message"] or "", result["execution_time"])


def _dbt(config: PlatformConfig, arguments: list[str], *, target: Path, check: bool = True) -> str:
    folder = project_folder(config)
    if find_spec("dbt") is None:
        mend = "install the extra: pip install 'cdc-platform[dbt]'"
        raise JobFailed("dbt is not installed", where=str(folder), mend=mend)
    paths = ["--project-dir", str(folder), "--profiles-dir", str(folder), "--target-path", str(target)]
    command = [sys.executable, "-c", _RUN_DBT, "--log-path", str(target / "logs"), "--no-use-colors"]
    try:
        done = subprocess.run(
            [*command, *arguments, *paths],
            env=os.environ | dbt_environment(config),
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        what = f"dbt {arguments[0]} was not done after {BUILD_SECONDS} s"
        raise JobTimedOut(what, where=str(folder), mend="look into target/logs, then try again") from error
    if check and done.returncode != 0:
        what = f"dbt {arguments[0]} failed: {_tail(done.stdout + done.stderr)}"
        raise JobFailed(what, where=str(folder), mend="mend the project")
    return done.stdout + done.stderr


def _tail(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return " | ".join(lines[-6:])


def _options(config: PlatformConfig) -> PreparedOptions:
    if config.prepared is None:
        mend = "add `prepared: {project: dbt_project}`"
        raise ConfigError("cdc.yaml", [("prepared", "no dbt project is configured", mend)])
    return config.prepared
