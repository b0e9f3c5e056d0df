"""The control state: versions, conflicts, and the same behaviour from SQLite and DynamoDB."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdc_platform.config.model import PlatformConfig
from cdc_platform.errors import StateConflict, StateError
from cdc_platform.state import ABSENT, DynamoDbState, SqliteState, StateStore, open_state


@pytest.fixture(scope="module")
def dynamodb_url() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["sqlite", "dynamodb"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[StateStore]:
    if request.param == "sqlite":
        yield SqliteState(tmp_path / "deep" / "state.sqlite")
        return
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    url = request.getfixturevalue("dynamodb_url")
    table = DynamoDbState(f"state-{tmp_path.name}", endpoint_url=url, region="eu-central-1")
    table.ensure_table()
    yield table
    table._table.meta.client.close()


def test_a_first_write_needs_that_there_is_nothing(store: StateStore) -> None:
    written = store.put_if_version("checkpoint", "retail", {"lsn": "0/1"}, ABSENT)

    assert written == store.get("checkpoint", "retail")
    assert written.version == 1
    with pytest.raises(StateConflict):
        store.put_if_version("checkpoint", "retail", {"lsn": "0/2"}, ABSENT)


def test_a_write_on_an_older_version_changes_nothing(store: StateStore) -> None:
    first = store.put_if_version("checkpoint", "retail", {"lsn": "0/1"}, ABSENT)
    store.put_if_version("checkpoint", "retail", {"lsn": "0/2"}, first.version)

    with pytest.raises(StateConflict, match="version 1 is no longer the last"):
        store.put_if_version("checkpoint", "retail", {"lsn": "0/3"}, first.version)

    kept = store.get("checkpoint", "retail")
    assert kept is not None
    assert ({"lsn": "0/2"}, 2) == (kept.value, kept.version)


def test_of_writers_that_read_the_same_version_one_wins(store: StateStore) -> None:
    first = store.put_if_version("checkpoint", "retail", {"writer": -1}, ABSENT)
    outcomes: list[str] = []

    def write(number: int) -> None:
        try:
            store.put_if_version("checkpoint", "retail", {"writer": number}, first.version)
            outcomes.append("won")
        except StateConflict:
            outcomes.append("lost")

    writers = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    assert ["lost"] * 5 + ["won"] == sorted(outcomes)


def test_entries_of_a_kind_are_listed_by_key(store: StateStore) -> None:
    for key in ("b", "a", "c"):
        store.put_if_version("switch", key, {"active": True}, ABSENT)
    store.put_if_version("other", "z", {}, ABSENT)

    assert ["a", "b", "c"] == [entry.key for entry in store.list("switch")]


def test_more_entries_than_a_page_holds_are_all_listed(store: StateStore) -> None:
    large = "x" * 60_000
    for number in range(30):
        store.put_if_version("metrics", f"{number:03}", {"text": large}, ABSENT)

    assert 30 == len(store.list("metrics"))


def test_an_entry_is_deleted_only_at_its_last_version(store: StateStore) -> None:
    entry = store.put_if_version("switch", "a", {}, ABSENT)

    with pytest.raises(StateConflict):
        store.delete("switch", "a", entry.version + 1)
    store.delete("switch", "a", entry.version)

    assert store.get("switch", "a") is None


def test_a_value_that_is_not_json_is_refused(store: StateStore) -> None:
    with pytest.raises(StateError, match="not JSON"):
        store.put_if_version("switch", "a", {"at": object()}, ABSENT)


def test_the_configuration_names_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    local = PlatformConfig(state="state.sqlite", base_folder=tmp_path)

    opened = open_state(local)
    remote = open_state(PlatformConfig(state="dynamodb://control"))

    assert isinstance(opened, SqliteState)
    assert opened.file == tmp_path / "state.sqlite"
    assert isinstance(remote, DynamoDbState)
    assert remote.table_name == "control"
    with pytest.raises(StateError, match="dynamodb://<table>"):
        open_state(PlatformConfig(state="redis://x"))


def test_a_state_file_that_is_no_database_is_named_with_the_mend(tmp_path: Path) -> None:
    file = tmp_path / "state.sqlite"
    file.write_text("this is not a database, but long enough to look at" * 10)

    with pytest.raises(StateError, match=r"state\.sqlite: the control state cannot be used.*`state` in cdc"):
        SqliteState(file)


def test_a_missing_dynamodb_table_is_named_with_the_mend(
    dynamodb_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")

    with pytest.raises(StateError, match=r"dynamodb://nowhere: .*ensure_table"):
        DynamoDbState("nowhere", endpoint_url=dynamodb_url, region="eu-central-1").get("a", "b")
