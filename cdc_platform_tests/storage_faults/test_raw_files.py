"""Raw files behind storage that lists stale, hands out half a file, or fails in the middle of one."""

from __future__ import annotations

import errno
import io
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest

from cdc_platform.errors import StorageUnavailable
from cdc_platform.lake import quarantine
from cdc_platform.pipeline import merge_table, take_in
from cdc_platform.raw.files import RawFile
from cdc_platform.raw.objects import open_object_store
from cdc_platform.raw.store import FolderRawStore
from cdc_platform.testing import write_change_file
from cdc_platform_tests.pipeline.workbench import SOURCE, Workbench

TABLE = {"name": "public.thing", "merge_key": ["id"]}
START = datetime(2024, 5, 1, 9, tzinfo=UTC)


def deliver(bench: Workbench, number: int) -> None:
    """Leave a file that inserts row ``number`` and sets the row before."""
    write_change_file(
        bench.raw,
        "public",
        "thing",
        at=START + timedelta(minutes=number),
        events=[{"op": "I", "id": number, "n": number}, {"op": "U", "id": max(number - 1, 0), "n": -number}],
        types={"id": pa.int64(), "n": pa.int32()},
    )


def expected(count: int) -> dict[int, int]:
    return {number: -(number + 1) if number + 1 < count else number for number in range(count)}


def found(bench: Workbench) -> dict[int, int]:
    return {key: row["n"] for key, row in bench.by_key("thing", "id").items()}


def nothing_is_set_aside(bench: Workbench) -> bool:
    return not quarantine.list_items(bench.platform.lake, SOURCE, "thing")


class _Breaks(io.BytesIO):
    """A file whose disk fails after some bytes."""

    def __init__(self, data: bytes, good: int) -> None:
        super().__init__(data)
        self._good = good

    def read(self, size: int | None = -1) -> bytes:
        self._good -= 1
        if self._good < 0:
            raise OSError(errno.EIO, "Input/output error")
        return super().read(size)


Fault = Callable[[bytes], pa.NativeFile]

FAULTS: dict[str, Fault] = {
    "half of it": lambda data: pa.BufferReader(data[: len(data) // 2]),
    "all but a byte": lambda data: pa.BufferReader(data[:-1]),
    "nothing": lambda data: pa.BufferReader(b""),
    **{
        f"an error at read {n}": lambda data, n=n: pa.PythonFile(_Breaks(data, n), mode="r")  # type: ignore[misc]
        for n in (0, 1, 2, 4)
    },
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_file_that_storage_hands_out_in_part_is_not_applied_and_not_set_aside(
    tmp_path: Path, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Workbench(tmp_path, TABLE)
    for number in range(3):
        deliver(bench, number)
    take_in(bench.platform, SOURCE)
    opened = FolderRawStore.open

    def faulty(self: FolderRawStore, file: RawFile) -> pa.NativeFile:
        with opened(self, file) as stream:
            return fault(stream.read())

    with monkeypatch.context() as patch:
        patch.setattr(FolderRawStore, "open", faulty)
        with pytest.raises(StorageUnavailable) as raised:
            merge_table(bench.platform, SOURCE, "thing")
    assert raised.value.retryable
    assert nothing_is_set_aside(bench)
    bench.apply("thing")

    assert expected(3) == found(bench)


def test_files_missing_in_a_stale_listing_come_with_a_later_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = Random(3)
    bench = Workbench(tmp_path, TABLE)
    listed = FolderRawStore.list

    def stale(self: FolderRawStore, prefix: str = "", *, start_after: str | None = None) -> Iterator[RawFile]:
        return (file for file in listed(self, prefix, start_after=start_after) if random.random() < 0.6)

    with monkeypatch.context() as patch:
        patch.setattr(FolderRawStore, "list", stale)
        for number in range(8):
            deliver(bench, number)
            bench.apply("thing")
    bench.apply("thing")

    assert expected(8) == found(bench)
    assert nothing_is_set_aside(bench)


def test_too_many_open_files_set_nothing_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Workbench(tmp_path, TABLE)
    deliver(bench, 0)
    take_in(bench.platform, SOURCE)

    def refused(*args: Any) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(pa, "OSFile", refused)
        with pytest.raises(StorageUnavailable, match="Too many open files"):
            merge_table(bench.platform, SOURCE, "thing")

    assert nothing_is_set_aside(bench)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, str]]:
    """A client of an S3 endpoint of this test alone, and a bucket there."""
    from moto.server import ThreadedMotoServer

    from cdc_platform.raw.s3 import s3_client

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    client = s3_client()
    name = f"test-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=name)
    yield client, name
    server.stop()


def answering(client: Any, operation: str, status: int, code: str, times: int) -> None:
    """Let S3 answer so many calls with an error before it does what it is asked."""
    from botocore.awsrequest import AWSResponse
    from botocore.compat import HTTPHeaders

    left = [None] * times

    class Body(io.BytesIO):
        def stream(self, *args: Any, **kwargs: Any) -> Iterator[bytes]:
            yield self.read()

    def answer(request: Any, **kwargs: Any) -> Any:
        if not left:
            return None
        left.pop()
        text = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
        return AWSResponse(request.url, status, HTTPHeaders(), Body(text))

    client.meta.events.register(f"before-send.s3.{operation}", answer)


def test_a_conditional_write_that_meets_another_under_way_is_repeated(bucket: tuple[Any, str]) -> None:
    client, name = bucket
    store = open_object_store(f"s3://{name}/objects")
    answering(client, "PutObject", 409, "ConditionalRequestConflict", times=2)

    assert (True, b"1") == (store.put_if_absent("quarantine/a.json", b"1"), store.get("quarantine/a.json"))


def test_a_store_that_asks_to_slow_down_for_ever_is_told_as_unavailable(bucket: tuple[Any, str]) -> None:
    client, name = bucket
    store = open_object_store(f"s3://{name}/objects")
    answering(client, "PutObject", 503, "SlowDown", times=20)

    with pytest.raises(StorageUnavailable, match="SlowDown") as raised:
        store.put("a", b"1")
    assert raised.value.retryable
