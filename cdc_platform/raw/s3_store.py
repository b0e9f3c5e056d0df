"""Raw files on S3, read by boto3 so that credentials and endpoints are found in one way only."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from cdc_platform.errors import StorageUnavailable
from cdc_platform.raw.files import RawFile
from cdc_platform.raw.s3 import ABSENT, PRECONDITION, error_code, s3_client, s3_errors, split_location
from cdc_platform.raw.store import Children, is_raw_object, refused, vanished
from cdc_platform.raw.versions import content_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_WHOLE = 16 * 2**20  # up to this size one request fetches the object
_AHEAD = 4 * 2**20  # and a bigger one is read in ranges of at least this


class S3RawStore:
    """Raw files below ``s3://bucket/prefix``. A version is the object's ETag."""

    def __init__(self, location: str) -> None:
        self._bucket, self._prefix = split_location(location)
        self._client = s3_client()

    def __repr__(self) -> str:
        return f"S3RawStore({self.location!r})"

    @property
    def location(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}"

    def list(self, prefix: str = "", *, start_after: str | None = None) -> Iterator[RawFile]:
        more = {"StartAfter": self._prefix + start_after} if start_after else {}
        for page in self._pages(prefix, **more):
            yield from self._files(page)

    def children(self, prefix: str = "") -> Children:
        folders: list[str] = []
        files: list[RawFile] = []
        for page in self._pages(prefix, Delimiter="/"):
            for common in page.get("CommonPrefixes", []):
                name = common["Prefix"].removeprefix(self._prefix + prefix).removesuffix("/")
                if is_raw_object(name):
                    folders.append(name)
            files.extend(self._files(page))
        return Children(tuple(folders), tuple(files))

    def open(self, file: RawFile) -> pa.NativeFile:
        reader = _ObjectReader(self._client, self._bucket, self._prefix, file)
        if file.size <= _WHOLE:
            return pa.BufferReader(reader.fetch(0, file.size) if file.size else b"")
        return pa.PythonFile(reader, mode="r")

    def is_there(self, file: RawFile) -> bool:
        from botocore.exceptions import ClientError

        with s3_errors(self.location + file.key):
            try:
                found = self._client.head_object(Bucket=self._bucket, Key=self._prefix + file.key)
            except ClientError as error:
                if error_code(error) in ABSENT:
                    return False
                raise
        return found["ETag"].strip('"') == content_of(file.etag)

    def _pages(self, prefix: str, **more: Any) -> Iterator[Any]:
        with s3_errors(self.location):
            yield from self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + prefix, **more
            )

    def _files(self, page: Any) -> Iterator[RawFile]:
        for found in page.get("Contents", []):
            key = found["Key"].removeprefix(self._prefix)
            if key and is_raw_object(key):
                modified = found["LastModified"].astimezone(UTC)
                yield RawFile(key, found["Size"], found["ETag"].strip('"'), modified)


class _ObjectReader(io.RawIOBase):
    """Random access to one version of an object; keeps the last range read."""

    def __init__(self, client: S3Client, bucket: str, prefix: str, file: RawFile) -> None:
        self._client, self._bucket, self._prefix, self._file = client, bucket, prefix, file
        self._at = 0
        self._held_at, self._held = 0, b""

    def fetch(self, begin: int, length: int) -> bytes:
        """Return bytes from ``begin``. Raises RawFileVanished when the object is not as listed."""
        from botocore.exceptions import ClientError

        location = f"s3://{self._bucket}/{self._prefix}"
        with s3_errors(location + self._file.key):
            try:
                answer = self._client.get_object(
                    Bucket=self._bucket,
                    Key=self._prefix + self._file.key,
                    IfMatch=f'"{content_of(self._file.etag)}"',
                    Range=f"bytes={begin}-{begin + length - 1}",
                )
                data = answer["Body"].read()
            except ClientError as error:
                code = error_code(error)
                if code in ABSENT | PRECONDITION:
                    raise vanished(self._file, location) from error
                if code in {"AccessDenied", "403", "InvalidObjectState"} or code.startswith("KMS"):
                    raise refused(self._file, location, code) from error
                raise
        if len(data) != length:
            what = f"S3 handed out {len(data):,} of {length:,} bytes"
            raise StorageUnavailable(what, where=location + self._file.key, mend="run again")
        return data

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size}[whence]
        self._at = base + offset
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        left = self._file.size - self._at
        wanted = left if size is None or size < 0 else min(size, left)
        if wanted <= 0:
            return b""
        offset = self._at - self._held_at
        if not 0 <= offset <= len(self._held) - wanted:
            self._held_at, offset = self._at, 0
            self._held = self.fetch(self._at, min(max(wanted, _AHEAD), left))
        self._at += wanted
        return self._held[offset : offset + wanted]
