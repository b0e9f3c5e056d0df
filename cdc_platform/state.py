"""Control state: the few things that live neither with the data nor in ``cdc.yaml``.

An entry is a JSON object under (kind, key) with a version that grows by one at each write. Writes are
conditional: whoever read version *n* may write only while *n* still stands, so two runs can never move a
checkpoint past each other. SQLite on a laptop, DynamoDB on AWS, one protocol.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cdc_platform.errors import StateConflict, StateError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

    from cdc_platform.config.model import PlatformConfig

#: The version to give for an entry that must not exist yet.
ABSENT = 0

_DYNAMODB = "dynamodb://"
_SCHEMA = """
create table if not exists state (
  kind text not null, key text not null, version integer not null,
  value text not null, updated_at text not null,
  primary key (kind, key)
) without rowid
"""


@dataclass(frozen=True, slots=True)
class StateEntry:
    """One entry as read or written."""

    kind: str
    key: str
    version: int
    value: Mapping[str, Any]
    updated_at: datetime


class StateStore(Protocol):
    """Entries by kind and key, with conditional writes. Implementations are safe between processes."""

    def get(self, kind: str, key: str) -> StateEntry | None:
        """Return the entry as last written, or None."""
        ...

    def put_if_version(self, kind: str, key: str, value: Mapping[str, Any], version: int) -> StateEntry:
        """Write the entry if its version is still ``version`` (ABSENT: if there is none); return it.

        Raises StateConflict when another writer was first; nothing is written then.
        """
        ...

    def list(self, kind: str) -> list[StateEntry]:
        """Return every entry of a kind, by key."""
        ...

    def delete(self, kind: str, key: str, version: int) -> None:
        """Remove the entry if its version is still ``version``. Raises StateConflict otherwise.

        An entry made anew under the same key counts its versions from one again.
        """
        ...


def open_state(config: PlatformConfig) -> StateStore:
    """Return the store that ``state`` in ``cdc.yaml`` names: an SQLite file or ``dynamodb://<table>``."""
    if config.state.startswith(_DYNAMODB):
        return DynamoDbState(config.state.removeprefix(_DYNAMODB))
    if "://" in config.state:
        raise StateError(
            f"{config.state!r} is not a state store",
            where="cdc.yaml: state",
            mend="give a file path or dynamodb://<table>",
        )
    return SqliteState(Path(config.path_of(config.state)))


class SqliteState:
    """The store in one SQLite file. A connection is opened per call: any thread or process may use it."""

    def __init__(self, file: Path) -> None:
        self.file = file
        file.parent.mkdir(parents=True, exist_ok=True)
        with self._connection() as connection:
            connection.execute("pragma journal_mode = wal")
            connection.execute(_SCHEMA)

    def get(self, kind: str, key: str) -> StateEntry | None:
        """Return the entry as last written, or None."""
        with self._connection() as connection:
            row = connection.execute(
                "select kind, key, version, value, updated_at from state where kind = ? and key = ?",
                (kind, key),
            ).fetchone()
        return _from_row(row) if row is not None else None

    def put_if_version(self, kind: str, key: str, value: Mapping[str, Any], version: int) -> StateEntry:
        """Write the entry if its version is still ``version``; raise StateConflict otherwise."""
        written = StateEntry(kind, key, version + 1, dict(value), datetime.now(UTC))
        body, at = _encoded(written), written.updated_at.isoformat()
        with self._connection() as connection:
            if version == ABSENT:
                sql = "insert into state values (?1, ?2, ?3, ?4, ?5) on conflict do nothing"
                done = connection.execute(sql, (kind, key, written.version, body, at))
            else:
                sql = (
                    "update state set version = ?3, value = ?4, updated_at = ?5 "
                    "where kind = ?1 and key = ?2 and version = ?6"
                )
                done = connection.execute(sql, (kind, key, written.version, body, at, version))
        if done.rowcount != 1:
            raise _conflict(kind, key, version)
        return written

    def list(self, kind: str) -> list[StateEntry]:
        """Return every entry of a kind, by key."""
        with self._connection() as connection:
            rows = connection.execute(
                "select kind, key, version, value, updated_at from state where kind = ? order by key", (kind,)
            ).fetchall()
        return [_from_row(row) for row in rows]

    def delete(self, kind: str, key: str, version: int) -> None:
        """Remove the entry if its version is still ``version``; raise StateConflict otherwise."""
        sql = "delete from state where kind = ? and key = ? and version = ?"
        with self._connection() as connection:
            done = connection.execute(sql, (kind, key, version))
        if done.rowcount != 1:
            raise _conflict(kind, key, version)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.file, timeout=30, isolation_level=None)) as connection:
                yield connection
        except sqlite3.Error as fault:
            raise StateError(
                f"the control state cannot be used: {fault}",
                where=str(self.file),
                mend="check that `state` in cdc.yaml names an SQLite file this user may write",
            ) from fault


class DynamoDbState:
    """The store in one DynamoDB table with hash key ``kind`` and range key ``key``, both strings."""

    def __init__(self, table: str, *, endpoint_url: str | None = None, region: str | None = None) -> None:
        import boto3

        self.table_name = table
        resource = boto3.resource("dynamodb", endpoint_url=endpoint_url, region_name=region)
        self._table: Table = resource.Table(table)

    def ensure_table(self) -> None:
        """Create the table (on-demand billing) unless it exists, and wait until it can be used."""
        with self._errors():
            client = self._table.meta.client
            with suppress(client.exceptions.ResourceInUseException):
                client.create_table(
                    TableName=self.table_name,
                    KeySchema=[
                        {"AttributeName": "kind", "KeyType": "HASH"},
                        {"AttributeName": "key", "KeyType": "RANGE"},
                    ],
                    AttributeDefinitions=[
                        {"AttributeName": "kind", "AttributeType": "S"},
                        {"AttributeName": "key", "AttributeType": "S"},
                    ],
                    BillingMode="PAY_PER_REQUEST",
                )
            self._table.wait_until_exists()

    def get(self, kind: str, key: str) -> StateEntry | None:
        """Return the entry as last written (a consistent read), or None."""
        with self._errors():
            item = self._table.get_item(Key={"kind": kind, "key": key}, ConsistentRead=True).get("Item")
        return _from_item(item) if item is not None else None

    def put_if_version(self, kind: str, key: str, value: Mapping[str, Any], version: int) -> StateEntry:
        """Write the entry if its version is still ``version``; raise StateConflict otherwise."""
        from boto3.dynamodb.conditions import Attr

        written = StateEntry(kind, key, version + 1, dict(value), datetime.now(UTC))
        item: dict[str, Any] = {
            "kind": kind,
            "key": key,
            "version": written.version,
            "value": _encoded(written),
            "updated_at": written.updated_at.isoformat(),
        }
        condition = Attr("version").not_exists() if version == ABSENT else Attr("version").eq(version)
        with self._errors(_conflict(kind, key, version)):
            self._table.put_item(Item=item, ConditionExpression=condition)
        return written

    def list(self, kind: str) -> list[StateEntry]:
        """Return every entry of a kind, by key, from all pages."""
        from boto3.dynamodb.conditions import Key

        entries: list[StateEntry] = []
        more: dict[str, Any] = {}
        with self._errors():
            while True:
                page = self._table.query(
                    KeyConditionExpression=Key("kind").eq(kind), ConsistentRead=True, **more
                )
                entries.extend(_from_item(item) for item in page["Items"])
                if "LastEvaluatedKey" not in page:
                    return entries
                more = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def delete(self, kind: str, key: str, version: int) -> None:
        """Remove the entry if its version is still ``version``; raise StateConflict otherwise."""
        from boto3.dynamodb.conditions import Attr

        with self._errors(_conflict(kind, key, version)):
            self._table.delete_item(
                Key={"kind": kind, "key": key}, ConditionExpression=Attr("version").eq(version)
            )

    @contextmanager
    def _errors(self, conflict: StateConflict | None = None) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        where = f"{_DYNAMODB}{self.table_name}"
        try:
            yield
        except ClientError as fault:
            code = fault.response.get("Error", {}).get("Code", "")
            if code == "ConditionalCheckFailedException" and conflict is not None:
                raise conflict from fault
            mend = (
                "create it first: DynamoDbState(…).ensure_table()" if code.startswith("ResourceNotF") else ""
            )
            raise StateError(f"DynamoDB refused: {fault}", where=where, mend=mend) from fault
        except BotoCoreError as fault:
            raise StateError(f"DynamoDB cannot be reached: {fault}", where=where) from fault


def _encoded(entry: StateEntry) -> str:
    try:
        return json.dumps(entry.value, sort_keys=True)
    except (TypeError, ValueError) as fault:
        where = f"{entry.kind}/{entry.key}"
        raise StateError(f"the value is not JSON: {fault}", where=where) from fault


def _from_row(row: tuple[str, str, int, str, str]) -> StateEntry:
    return StateEntry(row[0], row[1], row[2], json.loads(row[3]), datetime.fromisoformat(row[4]))


def _from_item(item: Mapping[str, Any]) -> StateEntry:
    return _from_row((item["kind"], item["key"], int(item["version"]), item["value"], item["updated_at"]))


def _conflict(kind: str, key: str, version: int) -> StateConflict:
    found = "there is one already" if version == ABSENT else f"version {version} is no longer the last"
    return StateConflict(
        f"another writer was first: {found}", where=f"state {kind}/{key}", mend="read it again, then decide"
    )
