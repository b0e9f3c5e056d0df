"""One S3 client and one translation of its errors, for raw files and for small objects.

The client is boto3's own: region, credentials, ``AWS_ENDPOINT_URL`` and retries are found as everywhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING

from cdc_platform.errors import StorageUnavailable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ABSENT = frozenset({"NoSuchKey", "404", "NotFound"})
#: Another conditional write of the key is under way: nothing is decided, the call may be repeated.
CONFLICT = frozenset({"ConditionalRequestConflict", "409"})
PRECONDITION = frozenset({"PreconditionFailed", "412"})


@lru_cache(maxsize=4)
def _client(endpoint: str | None) -> S3Client:
    import boto3
    from botocore.config import Config

    # path style where an endpoint is given: a local one has no bucket host names
    style = {"addressing_style": "path"} if endpoint else {}
    config = Config(connect_timeout=10, read_timeout=60, retries={"mode": "standard"}, s3=style)  # type: ignore[arg-type]
    return boto3.client("s3", config=config)


def s3_client() -> S3Client:
    """Return this process's S3 client; boto3 clients may be shared by threads."""
    import os

    return _client(os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"))


def split_location(location: str) -> tuple[str, str]:
    """Return (bucket, prefix); the prefix is empty or ends with ``/``.

    >>> split_location("s3://raw/dms/retail")
    ('raw', 'dms/retail/')
    """
    bucket, _, prefix = location.removeprefix("s3://").partition("/")
    prefix = prefix.strip("/")
    return bucket, f"{prefix}/" if prefix else ""


def error_code(error: Exception) -> str:
    """Return the AWS error code of a botocore ClientError, else ''."""
    response = getattr(error, "response", None)
    return str(response["Error"].get("Code", "")) if response else ""


@contextmanager
def s3_errors(where: str) -> Iterator[None]:
    """Translate what botocore raises into StorageUnavailable."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        code = error_code(error)
        mend = {
            "NoSuchBucket": "create the bucket, or correct the location in cdc.yaml",
            "AccessDenied": "grant s3:ListBucket, s3:GetObject and, for the warehouse, s3:PutObject",
            "403": "grant s3:ListBucket, s3:GetObject and, for the warehouse, s3:PutObject",
        }.get(code, "check the bucket, the region and the credentials")
        raise StorageUnavailable(f"S3 refused the call: {code}", where=where, mend=mend) from error
    except BotoCoreError as error:
        raise StorageUnavailable(
            f"S3 cannot be reached: {type(error).__name__}: {error}",
            where=where,
            mend="check the network, AWS_ENDPOINT_URL, the region and the credentials",
        ) from error
