"""A boto3 client for the DMS objects of a source, and its errors as ours."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cdc_platform.errors import ConfigError, ReplicationError

if TYPE_CHECKING:
    from mypy_boto3_dms import DatabaseMigrationServiceClient

    from cdc_platform.config.model import PlatformConfig, SourceConfig

_ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_DATABASE_MIGRATION_SERVICE", "AWS_ENDPOINT_URL")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def source_config(config: PlatformConfig, source: str) -> SourceConfig:
    """Return a source's configuration. Raises ConfigError when there is none of that name."""
    if source not in config.sources:
        names = ", ".join(config.sources) or "none"
        raise ConfigError("cdc.yaml", [("sources", f"there is no source {source!r}", f"use one of: {names}")])
    return config.sources[source]


def dms_client(config: PlatformConfig, source: str) -> DatabaseMigrationServiceClient:
    """Return boto3's DMS client for a source: AWS's own endpoint, or ``dms.endpoint_url`` of the source.

    A stand-in on this machine is called with dummy credentials: real ones are never sent to it.
    """
    import boto3
    from botocore.config import Config
    from botocore.exceptions import NoRegionError

    options = source_config(config, source).dms
    url = options.endpoint_url or next(filter(None, map(os.environ.get, _ENDPOINT_VARIABLES)), None)
    if url is not None and is_loopback(url):
        return boto3.client(
            "dms",
            endpoint_url=url,
            region_name=options.region or "us-east-1",
            aws_access_key_id="local",
            aws_secret_access_key="local",
            config=Config(connect_timeout=3, read_timeout=60, retries={"total_max_attempts": 2}),
        )
    settings = Config(
        connect_timeout=10, read_timeout=60, retries={"mode": "standard", "total_max_attempts": 6}
    )
    try:
        return boto3.client("dms", endpoint_url=url, region_name=options.region, config=settings)
    except NoRegionError as fault:
        mend = "set dms.region, or AWS_DEFAULT_REGION"
        raise ReplicationError("no AWS region is known", where=f"sources.{source}.dms", mend=mend) from fault


def is_loopback(url: str) -> bool:
    """Return whether the URL is of this machine.

    >>> is_loopback("http://127.0.0.1:8123"), is_loopback("https://dms.eu-west-1.amazonaws.com")
    (True, False)
    """
    return urlsplit(url).hostname in _LOOPBACK


def poll_seconds_of(client: DatabaseMigrationServiceClient) -> float:
    """Return how long to wait between two looks: AWS throttles, a stand-in here does not."""
    return 0.1 if is_loopback(client.meta.endpoint_url) else 10.0


@contextmanager
def dms_errors(where: str) -> Iterator[None]:
    """Turn boto3's errors into ReplicationError that says what was asked and what to do."""
    from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError, NoCredentialsError

    try:
        yield
    except ClientError as fault:
        told: Any = fault.response.get("Error", {})
        what = f"DMS refused {fault.operation_name}: {told.get('Message')} ({told.get('Code')})"
        raise ReplicationError(what, where=where, mend=_mend_of(str(told.get("Code")))) from fault
    except NoCredentialsError as fault:
        mend = "log in to AWS, or set dms.endpoint_url to a local DMS (cdc local up)"
        raise ReplicationError("there are no AWS credentials", where=where, mend=mend) from fault
    except EndpointConnectionError as fault:
        mend = "check dms.endpoint_url; a local DMS is started by: cdc local up"
        raise ReplicationError(f"DMS does not answer: {fault}", where=where, mend=mend) from fault
    except BotoCoreError as fault:
        raise ReplicationError(f"DMS cannot be called: {fault}", where=where) from fault


def _mend_of(code: str) -> str:
    if code.startswith("AccessDenied"):
        return "give the caller's role the dms:* actions it needs"
    if code == "ResourceNotFoundFault":
        return "make the DMS objects first: cdc replicate"
    if code == "InvalidResourceStateFault":
        return "wait, or stop the task first"
    return ""


def is_not_found(fault: Exception) -> bool:
    """Return whether a boto3 error says that nothing matches."""
    response: Any = getattr(fault, "response", {})
    return bool(response.get("Error", {}).get("Code") == "ResourceNotFoundFault")
