"""The code location: ``cdc.yaml`` → Dagster definitions.

Which file: the environment variable ``CDC_CONFIG``, else ``cdc.yaml`` in the working directory. A wrong file
makes the location fail to load, with every mistake in the message.
"""

import os
from pathlib import Path

import dagster as dg

from cdc_platform.assets.base import build_base_asset
from cdc_platform.assets.fleet import build_fleet_definitions
from cdc_platform.assets.keys import active_tables, window_partitions
from cdc_platform.assets.maintenance import build_maintenance_asset, build_results_maintenance
from cdc_platform.assets.raw import build_raw_asset
from cdc_platform.assets.reconciliation import build_reconciliation_asset
from cdc_platform.assets.repair import build_repair_job
from cdc_platform.assets.replication import build_replication_asset, is_replicated
from cdc_platform.assets.settling import build_settling_job, build_settling_schedule
from cdc_platform.assets.verification import build_verification_definitions, is_any_dated
from cdc_platform.assets.whole import build_whole_job
from cdc_platform.config.load import load_config
from cdc_platform.config.model import PlatformConfig
from cdc_platform.resources import DmsResource, PlatformResource
from cdc_platform.schedules import build_maintenance_schedule, build_reconciliation_schedule
from cdc_platform.sensors import build_automation_sensor, build_file_sensor


def config_path() -> Path:
    """Return the absolute path of the configuration this process is for."""
    return Path(os.environ.get("CDC_CONFIG") or "cdc.yaml").resolve()


def build_definitions(path: str | Path) -> dg.Definitions:
    """Return everything the configuration at ``path`` asks for. Raises ConfigError when it is wrong."""
    config = load_config(path)
    parts = [source_definitions(config, source) for source in config.sources]
    if any(active_tables(source) for source in config.sources.values()):
        parts += [build_fleet_definitions(), build_results_maintenance()]
    parts += [build_verification_definitions()] if is_any_dated(config) else []
    if config.prepared is not None:
        parts.append(prepared_definitions(config))
    resources = {"platform": PlatformResource(config_path=str(path)), "dms": DmsResource()}
    # In one process per run: every further process would load this whole location again.
    settling = build_settling_job()
    jobs = [build_repair_job(), build_whole_job(), settling]
    schedules = [build_settling_schedule(settling)]
    shared = dg.Definitions(
        resources=resources, executor=dg.in_process_executor, jobs=jobs, schedules=schedules
    )
    return dg.Definitions.merge(shared, *parts)


def source_definitions(config: PlatformConfig, source: str) -> dg.Definitions:
    """Return the assets, checks, sensors and the schedule of one source."""
    settings = config.sources[source]
    # one value for the whole source, so that windows map one to one along the chain
    partitions = window_partitions(settings)
    replicated = is_replicated(settings)
    assets = [build_replication_asset(source=source, config=settings)] if replicated else []
    for table in active_tables(settings):
        assets += [
            build_raw_asset(config=config, source=source, table=table, partitions=partitions),
            build_base_asset(config=config, source=source, table=table, partitions=partitions),
            build_reconciliation_asset(source=source, config=settings, table=table, partitions=partitions),
            build_maintenance_asset(source=source, config=settings, table=table),
        ]
    if not active_tables(settings):
        return dg.Definitions(assets=assets)
    return dg.Definitions(
        assets=assets,
        schedules=[
            build_reconciliation_schedule(source=source, config=settings),
            build_maintenance_schedule(source=source, config=settings),
        ],
        sensors=[
            build_file_sensor(source=source, config=settings),
            build_automation_sensor(
                f"{source}_automation",
                dg.AssetSelection.groups(source),
                f"Merges and reconciles the windows of {source} that moved.",
                tables=len(active_tables(settings)),
            ),
        ],
    )


def prepared_definitions(config: PlatformConfig) -> dg.Definitions:
    """Return the dbt models and the sensor that refreshes them."""
    from cdc_platform.assets.prepared import GROUP, build_prepared_assets

    # A sensor of its own: it sees verdicts when they are there, and never asks for a model in the same tick
    # as for the base table it reads.
    sensor = build_automation_sensor(
        "prepared_automation", dg.AssetSelection.groups(GROUP), "Builds the models whose verdicts allow it."
    )
    return dg.Definitions(assets=[build_prepared_assets(config)], sensors=[sensor])


@dg.definitions
def defs() -> dg.Definitions:
    """Return the definitions of this process's configuration; what ``workspace.yaml`` loads."""
    return build_definitions(config_path())
