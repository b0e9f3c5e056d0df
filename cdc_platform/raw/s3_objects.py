"""An ObjectStore on S3. Conditional writes are S3's own (If-None-Match, If-Match on the ETag).

A conditional write that finds exactly its own bytes already there counts as done: whoever needs to know
which of two writers won puts something of its own (a batch id) into the bytes.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any

from cdc_platform.raw.objects import StoredObject, checked_key
from cdc_platform.raw.s3 import (
    ABSENT,
    CONFLICT,
    PRECONDITION,
    error_code,
    s3_client,
    s3_errors,
    split_location,
)

#: How often a conditional write that met another under way is tried.
_CONFLICTS = 5


class S3Objects:
    """An ObjectStore below ``s3://bucket/prefix``; a version is an object's ETag."""

    def __init__(self, location: str) -> None:
        self._bucket, self._prefix = split_location(location)
        self._client = s3_client()

    def __repr__(self) -> str:
        return f"S3Objects('s3://{self._bucket}/{self._prefix}')"

    def get(self, key: str) -> bytes | None:
        found = self.read(key)
        return None if found is None else found.data

    def read(self, key: str) -> StoredObject | None:
        from botocore.exceptions import ClientError

        with s3_errors(self.url(key)):
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=self._key(key))
            except ClientError as error:
                if error_code(error) in ABSENT:
                    return None
                raise
            return StoredObject(answer["Body"].read(), answer["ETag"])

    def put(self, key: str, data: bytes) -> None:
        self._put(key, data)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        return self.replace(key, data, None)

    def replace(self, key: str, data: bytes, expected_version: str | None) -> bool:
        if expected_version is None:
            return self._put(key, data, IfNoneMatch="*")
        return self._put(key, data, IfMatch=expected_version)

    def list(self, prefix: str = "") -> Iterator[str]:
        with s3_errors(f"s3://{self._bucket}/{self._prefix}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + prefix
            )
            for page in pages:
                for found in page.get("Contents", []):
                    # consoles and file systems put an empty object where a folder is to be seen
                    if not found["Key"].endswith("/"):
                        yield found["Key"].removeprefix(self._prefix)

    def delete(self, key: str) -> None:
        with s3_errors(self.url(key)):
            self._client.delete_object(Bucket=self._bucket, Key=self._key(key))

    def url(self, key: str) -> str:
        return f"s3://{self._bucket}/{self._key(key)}"

    def below(self, prefix: str) -> S3Objects:
        return S3Objects(f"s3://{self._bucket}/{self._key(prefix.rstrip('/'))}")

    def _key(self, key: str) -> str:
        return self._prefix + checked_key(key)

    def _put(self, key: str, data: bytes, **condition: Any) -> bool:
        from botocore.exceptions import ClientError

        with s3_errors(self.url(key)):
            try:
                self._put_once(key, data, **condition)
            except ClientError as error:
                # If-Match on an object that was deleted answers NoSuchKey
                if condition and error_code(error) in PRECONDITION | ABSENT:
                    # botocore retries a write whose answer was lost, and then meets its own object
                    return self.get(key) == data
                raise
        return True

    def _put_once(self, key: str, data: bytes, **condition: Any) -> None:
        """Put, again and again while S3 says that another write of the key is under way (no refusal yet)."""
        from botocore.exceptions import ClientError

        for attempt in range(_CONFLICTS):
            try:
                self._client.put_object(Bucket=self._bucket, Key=self._key(key), Body=data, **condition)
            except ClientError as error:
                if error_code(error) not in CONFLICT or attempt + 1 == _CONFLICTS:
                    raise
                time.sleep(random.uniform(0, 0.1 * 2**attempt))
            else:
                return
