"""An S3 and Glue endpoint on loopback, and what lies in a bucket of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cdc_platform_tests.lake.conftest import SOURCE

REGION = "us-east-1"
BUCKET = "lake"


@contextmanager
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield the URL of an endpoint with an empty bucket, which the environment names to boto3."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    for name, value in {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": REGION,
    }.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    try:
        yield url
    finally:
        _empty()
        server.stop()


def _empty() -> None:
    """Remove what tests made: every server of a process serves the same buckets and databases."""
    import boto3

    s3, glue = boto3.client("s3"), boto3.client("glue")
    folders = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    for key in [each["Key"] for page in folders for each in page.get("Contents", ())]:
        s3.delete_object(Bucket=BUCKET, Key=key)
    s3.delete_bucket(Bucket=BUCKET)
    if any(each["Name"] == SOURCE for each in glue.get_databases()["DatabaseList"]):
        glue.delete_database(Name=SOURCE)


def properties(endpoint: str, *services: str) -> dict[str, str]:
    """Return the catalog properties that lead to the endpoint."""
    return {
        f"{service}.{name}": value
        for service in services
        for name, value in {
            "endpoint": endpoint,
            "region": REGION,
            "access-key-id": "test",
            "secret-access-key": "test",
        }.items()
    }


def listed(prefix: str = "") -> dict[str, str]:
    """Return the ETag of every object of the bucket by its key.

    Without the empty ones that stand for folders: Arrow's file system puts one where it removes a file.
    """
    import boto3

    pages = boto3.client("s3").get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    return {
        each["Key"]: each["ETag"]
        for page in pages
        for each in page.get("Contents", ())
        if not each["Key"].endswith("/")
    }


def put(key: str, data: bytes) -> None:
    """Write an object into the bucket."""
    import boto3

    boto3.client("s3").put_object(Bucket=BUCKET, Key=key, Body=data)
