"""The raw witness of whole rows: what change events add to and take from the bag, by a row's own hash.

Of a table without a key an event is about the row its image has: an insert (or a row of a load) brings one,
a delete takes one away, an update takes its before image and brings the other. Images are brought to base's
types, as a merge does, and hashed as base's rows are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from cdc_platform.config.model import NoKey
from cdc_platform.errors import CdcError, RawFileError, SchemaError
from cdc_platform.events import COMMITTED_AT, GENERATION, OP, POSITION, ROW, SOURCE_POSITION, before_name
from cdc_platform.naming import quoted, sql_text
from cdc_platform.reconcile.awaited import MOST_FILES_READ
from cdc_platform.reconcile.row_parts import PART
from cdc_platform.reconcile.sides import Sides
from cdc_platform.reconcile.subject import Subject
from cdc_platform.reconcile.suspect_events import Reading, files_of, standing_sql
from cdc_platform.reconcile.suspects import types_in
from cdc_platform.reconcile.window_events import Batch, Events, Standing, WindowFile

_LANES = "lane1 UBIGINT, lane2 UBIGINT"
_OF_EVENT = f"{OP} AS op, {GENERATION} AS generation, {POSITION} AS position"


@dataclass(frozen=True, slots=True)
class RowImages:
    """How images of events become hashes of rows. ``policy`` is what the table keeps."""

    sides: Sides
    types: dict[str, str]
    policy: NoKey

    @classmethod
    def of(cls, connection: duckdb.DuckDBPyConnection, sides: Sides, policy: NoKey) -> RowImages:
        """Return them for a table whose base has the types of ``sides``."""
        return cls(sides, types_in(connection, sides.view.columns), policy)

    def effects_sql(self, names: Sequence[str], kept: str = "") -> str:
        """Return SQL of each effect of the events ``i`` with columns ``names``: lanes, came, went, ``kept``.

        Of an update that does not tell the row it takes away only the other half is there.
        """
        came = f"{OP} IN ('I', 'L', 'U')" if self.policy is NoKey.MULTISET else f"{OP} IN ('I', 'L')"
        parts = [
            self._hashed(names, f"({OP} <> 'D')::INT AS came, ({OP} = 'D')::INT AS went", kept, False)
            + f" WHERE {OP} = 'D' OR {came}"
        ]
        if self.policy is NoKey.MULTISET and self.tells_before(names):
            parts.append(self._hashed(names, "0 AS came, 1 AS went", kept, True) + f" WHERE {OP} = 'U'")
        return " UNION ALL ".join(parts)

    def tells_before(self, names: Sequence[str]) -> bool:
        """Whether an update has the whole row it takes away."""
        columns = [column.column for column in self.sides.plan.columns if column.column in names]
        return bool(columns) and all(before_name(column) in names for column in columns)

    def untold(self, names: Sequence[str]) -> str:
        """Return the SQL condition on events that do not tell which rows they change."""
        is_told = self.policy is NoKey.MULTISET and self.tells_before(names)
        return "false" if is_told else f"{OP} = 'U'"

    def _hashed(self, names: Sequence[str], effect: str, kept: str, before: bool) -> str:
        values = []
        for column in self.sides.plan.columns:
            name, kind = before_name(column.column) if before else column.column, self.types[column.column]
            value = f"TRY_CAST(i.{quoted(name)} AS {kind})" if name in names else f"NULL::{kind}"
            values.append(column.base.format(value))
        first, second = self.sides.digest.lanes(values)
        return f"SELECT {first} AS lane1, {second} AS lane2, {effect}{kept} FROM incoming i"


def load_changing(
    connection: duckdb.DuckDBPyConnection, images: RowImages, files: Sequence[Callable[[], Events]]
) -> int:
    """Make ``changing`` (part, lanes, came, went) of files on their way; return how many could not tell."""
    connection.execute(f"CREATE OR REPLACE TEMP TABLE changes ({_LANES}, came BIGINT, went BIGINT)")
    untold = max(0, len(files) - MOST_FILES_READ)
    for open_file in files[:MOST_FILES_READ]:
        try:
            untold += _add_file(connection, images, open_file())
        except (RawFileError, SchemaError, duckdb.Error):
            # A file nobody can read may change any row.
            untold += 1
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE changing AS
            SELECT {PART} AS part, lane1, lane2, sum(came)::BIGINT AS came, sum(went)::BIGINT AS went
            FROM changes GROUP BY ALL"""
    )
    connection.execute("DROP TABLE changes")
    return untold


def _add_file(connection: duckdb.DuckDBPyConnection, images: RowImages, events: Events) -> int:
    """Add what a file changes to ``changes``; return 1 where it does not tell of every row."""
    untold = 0
    for batch in events.batches():
        names = batch.events.schema.names
        connection.register("incoming", pa.Table.from_batches([batch.events]))
        connection.execute(f"INSERT INTO changes {images.effects_sql(names)}")
        row = connection.execute(f"SELECT count(*) FROM incoming WHERE {images.untold(names)}").fetchone()
        connection.unregister("incoming")
        untold += len(batch.rejected) + (row[0] if row else 0)
    return 1 if untold else 0


def no_row_events(connection: duckdb.DuckDBPyConnection) -> None:
    """Make ``row_events`` without an event."""
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE row_events ({_LANES}, came INT, went INT, op VARCHAR,
            generation BIGINT, position DECIMAL(38, 0), committed_at TIMESTAMPTZ, source_position VARCHAR,
            "row" BIGINT, file INT, standing VARCHAR)"""
    )


def load_row_events(
    connection: duckdb.DuckDBPyConnection, images: RowImages, subject: Subject, is_after: str = "false"
) -> Reading:
    """Make ``row_events`` of what accepted files tell of ``odd`` rows, and for ``append`` of every delete.

    Events of any row for which the condition ``is_after`` holds are in it, too. An event that comes again
    under another file name is one event. Files are read newest first, as many as :func:`files_of` gives.
    """
    no_row_events(connection)
    reading = files_of(subject, ())
    for number, file in enumerate(reading.files):
        try:
            _add_events(connection, images, number, reading, subject, is_after)
        except CdcError as error:
            reading.unread[file.accepted.file.key] = error.what
        except (duckdb.Error, pa.ArrowException) as error:
            reading.unread[file.accepted.file.key] = str(error)
    connection.execute(
        """CREATE OR REPLACE TEMP TABLE row_events AS FROM row_events QUALIFY position = 0 OR row_number()
            OVER (PARTITION BY generation, position, came, standing = 'applied' ORDER BY file, "row") = 1"""
    )
    return reading


def _add_events(
    connection: duckdb.DuckDBPyConnection,
    images: RowImages,
    number: int,
    reading: Reading,
    subject: Subject,
    is_after: str,
) -> None:
    wanted = f"(EXISTS (FROM odd o WHERE o.lane1 = e.lane1 AND o.lane2 = e.lane2) OR ({is_after}))"
    if images.policy is NoKey.APPEND:
        wanted = f"({wanted} OR op = 'D')"
    file = reading.files[number]
    for batch in file.open().batches():
        names = batch.events.schema.names
        source = SOURCE_POSITION if SOURCE_POSITION in names else "NULL::VARCHAR"
        kept = f', {_OF_EVENT}, {COMMITTED_AT} AS committed_at, {source} AS source_position, {ROW} AS "row"'
        kept += f", {number} AS file, {standing_sql(file, subject)} AS standing"
        connection.register("incoming", pa.Table.from_batches([batch.events]))
        connection.execute(
            f"INSERT INTO row_events BY NAME "
            f"SELECT * FROM ({images.effects_sql(names, kept)}) e WHERE {wanted}"
        )
        _add_untold(connection, images, reading, file, batch, standing_sql(file, subject))
        connection.unregister("incoming")


def _add_untold(
    connection: duckdb.DuckDBPyConnection,
    images: RowImages,
    reading: Reading,
    file: WindowFile,
    batch: Batch,
    standing: str,
) -> None:
    """Note that changes of a batch (events: ``incoming``) were set aside and do not tell their rows."""
    key, aside = file.accepted.file.key, (Standing.QUARANTINED, Standing.DISCARDED)
    listed = file.held_rows | file.discarded_rows
    is_refused = any(file.standing in aside or one.row in listed for one in batch.rejected)
    is_aside = f"({standing}) IN ({', '.join(sql_text(one) for one in aside)})"
    untold = (
        f"SELECT 1 FROM incoming i WHERE {images.untold(batch.events.schema.names)} AND {is_aside} LIMIT 1"
    )
    has_untold = bool(connection.execute(untold).fetchall())
    if is_refused or (has_untold and images.policy is NoKey.APPEND):
        reading.untold = reading.untold or key
    elif has_untold:
        reading.untold_taken = reading.untold_taken or key


def deletes_of_no_row(connection: duckdb.DuckDBPyConnection, sides: Sides, policy: NoKey) -> int:
    """Count the different images of deletes that are no row: which rows they take away, nobody knows.

    Of ``changing``, and for ``append``, whose base keeps every row, of what was applied as well.
    """
    applied = (
        "UNION SELECT lane1, lane2 FROM row_events WHERE went > 0 AND standing = 'applied'"
        if policy is NoKey.APPEND
        else ""
    )
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE of_deletes AS
            SELECT lane1, lane2 FROM changing WHERE went > 0 AND came = 0 {applied}
            EXCEPT SELECT lane1, lane2 FROM odd WHERE n_base > 0"""
    )
    lanes = sides.digest.lanes(sides.base_values)
    row = connection.execute("SELECT count(*) FROM of_deletes").fetchone()
    if not row or not row[0]:
        return 0
    found = connection.execute(
        f"""SELECT count(*) FROM (SELECT DISTINCT lane1, lane2 FROM (
                SELECT {lanes[0]} AS lane1, {lanes[1]} AS lane2 FROM {sides.base_rows})
            SEMI JOIN of_deletes USING (lane1, lane2))"""
    ).fetchone()
    return int(row[0]) - (int(found[0]) if found else 0)
