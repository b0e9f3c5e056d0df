"""``cdc demo``, ``cdc up`` and ``cdc local …``: everything on this machine, with no cloud account."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cdc_platform.cli.exits import ExitCode
from cdc_platform.cli.numbers import finite
from cdc_platform.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, print_json, stderr, stdout
from cdc_platform.errors import LocalServiceError

FolderOption = Annotated[Path, typer.Option("--folder", "-f", help="Where the services keep everything.")]
LOCAL_FOLDER = Path(".cdc/local")
LOCAL_PORT = 7433

group = typer.Typer(
    name="local",
    help="The laptop's stand-ins for AWS: a real PostgreSQL and a local DMS endpoint that boto3 drives.",
    no_args_is_help=True,
)


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    panel = "On this machine"
    app.command("demo", rich_help_panel=panel)(demo)
    app.command("up", rich_help_panel=panel)(up)
    group.command("up")(local_up)
    group.command("down")(local_down)
    group.command("status")(local_status)
    group.command("fault")(local_fault)
    app.add_typer(group, rich_help_panel=panel)


def demo(
    folder: Annotated[Path, typer.Option("--folder", "-f", help="Where the demo is told.")] = Path(
        ".cdc/demo"
    ),
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the lake of an earlier demo beside the new one.")
    ] = False,
) -> None:
    """Tell the whole story in under three minutes: a database's changes become proven tables.

    A real PostgreSQL is loaded and changed, DMS files come out of order and twice, everything is merged,
    reconciled and built on; then one row of the lake is tampered with, and caught. The lake stays for
    looking around. Exit code 1 when the story does not hold.

    [bold]Examples[/bold]

      cdc demo

      cdc demo --keep --folder my-demo
    """
    from cdc_platform.local.demo import run_demo

    if not run_demo(folder, keep=keep):
        raise typer.Exit(ExitCode.FOUND)


def up(
    config: ConfigOption = DEFAULT_CONFIG,
    folder: FolderOption = LOCAL_FOLDER,
    ui_port: Annotated[int, typer.Option("--ui-port", min=1, max=65535, help="Port of Dagster's UI.")] = 3000,
    rate: Annotated[
        float, typer.Option(min=0.0, callback=finite, help="Changes a second; 0 for none.")
    ] = 2.0,
    ui: Annotated[bool, typer.Option(help="Start Dagster's UI and daemon.")] = True,
) -> None:
    """Start PostgreSQL, local DMS, a gentle workload, and Dagster's UI and daemon; Ctrl-C stops them all.

    Starting again resumes: the database, DMS's checkpoint, the lake and Dagster's history are kept.

    [bold]Examples[/bold]

      cdc up

      cdc up --ui-port 3100 --rate 20
    """
    from cdc_platform.local.stack import run_stack

    run_stack(config, folder, ui_port=ui_port if ui else None, rate=rate, say=_say)


def local_up(
    folder: FolderOption = LOCAL_FOLDER,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the endpoint; 0: any.")] = LOCAL_PORT,
    database: Annotated[str, typer.Option(help="Database to make in PostgreSQL.")] = "retail",
    foreground: Annotated[bool, typer.Option(help="Stay; Ctrl-C stops both.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Start PostgreSQL and the DMS endpoint, wait until both answer, print what a client needs.

    [bold]Examples[/bold]

      eval "$(cdc local up)"  &&  aws dms describe-replication-tasks

      cdc local up --folder my-services --port 0 --json
    """
    from cdc_platform.local import services
    from cdc_platform.local.stack import write_dsn_file

    def ready(running: services.LocalServices) -> None:
        write_dsn_file(folder, database, running.dsn)
        if as_json:
            urls = {"endpoint_url": running.endpoint_url, "raw_folder": running.raw_folder}
            print_json({**urls, "dsn": running.dsn, "pids": dict(running.pids)})
        else:
            print("\n".join(services.export_lines(running)), flush=True)

    services.up(folder, port=port, database=database, foreground=foreground, on_ready=ready)


def local_down(folder: FolderOption = LOCAL_FOLDER) -> None:
    """Stop both services; tasks flush and record their checkpoints first.

    [bold]Example[/bold]

      cdc local down
    """
    from cdc_platform.local import services

    stderr().print("stopped" if services.down(folder) else "nothing was running")


def local_status(folder: FolderOption = LOCAL_FOLDER, as_json: JsonOption = False) -> None:
    """Say which of the services run. Exit code 1 when not both answer.

    [bold]Example[/bold]

      cdc local status --json
    """
    from cdc_platform.local import services

    found = services.status(folder)
    if as_json:
        print_json(found)
    else:
        running = {True: "runs", False: "is down"}
        stdout().print(f"PostgreSQL {running[found.is_postgres_running]}")
        url = f" at {found.endpoint_url}" if found.endpoint_url else ""
        stdout().print(f"DMS endpoint {running[found.is_endpoint_running]}{url}", highlight=False)
        if found.problem:
            stdout().print(found.problem, style="yellow", highlight=False, markup=False)
    if not found.is_up:
        raise typer.Exit(ExitCode.FOUND)


def local_fault(
    fault: Annotated[
        str | None, typer.Argument(help="Kind of fault to arm; none: list what is armed.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="Only this task.")] = None,
    table: Annotated[str | None, typer.Option(help="Only this table, as schema.table.")] = None,
    times: Annotated[int, typer.Option(min=1, help="How often it happens.")] = 1,
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", help="name=value of the fault.")
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Disarm every fault.")] = False,
    folder: FolderOption = LOCAL_FOLDER,
) -> None:
    """Arm a fault of the local DMS: what real DMS does on a bad day, once and on purpose.

    Kinds: duplicate-file, delay-file, drop-file, drop-change, report-ahead, reemit-after-resume,
    suspend-table, stop.

    [bold]Examples[/bold]

      cdc local fault duplicate-file --table public.productorder

      cdc local fault stop -o reason=FATAL_ERROR

      cdc local fault --clear
    """
    from cdc_platform.local import faults, services

    if fault is not None and fault not in faults.FAULT_KINDS:
        known = ", ".join(faults.FAULT_KINDS)
        raise typer.BadParameter(f"{fault!r} is not a fault; arm one of {known}", param_hint="FAULT")
    url = services.status(folder).endpoint_url
    if url is None:
        raise LocalServiceError("the DMS endpoint is down", where=str(folder), mend="start it: cdc local up")
    if clear:
        stdout().print(f"{faults.clear_faults(url)} faults disarmed")
    elif fault is None:
        print_json(faults.armed_faults(url))
    else:
        options = dict(_option(text) for text in option or ())
        print_json(faults.arm_fault(url, fault, task=task, table=table, times=times, options=options))


def _option(text: str) -> tuple[str, Any]:
    """Return the name and value of ``name=value``; a whole number becomes one."""
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"{text!r} is not name=value", param_hint="--option")
    return name, json.loads(value) if value.isdigit() else value


def _say(text: str) -> None:
    stderr().print(text, highlight=False)
