"""What was proven holds only while all it rests on is as it was: catalogs of both sides, options, rules."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.types import StringType

from cdc_platform.config.model import DeleteMode, Images
from cdc_platform.lake.declared import KEEPS_DELETED
from cdc_platform.reconcile.postgres import PostgresReader, PostgresSnapshot
from cdc_platform.reconcile.verdict import Verdict
from cdc_platform_tests.reconcile.test_source_identity import MODES, ROWS, TYPES, ProvenShop, told

pytestmark = pytest.mark.postgres


class AlteredShop(ProvenShop):
    """A proven table whose base, source or options somebody alters, without a change event."""

    def alter_base(self, *steps: tuple[str, str]) -> None:
        """Change base's schema alone: no row is written, and no snapshot made."""
        for step, column in steps:
            with self.base.update_schema(allow_incompatible_changes=True) as update:
                if step == "drop":
                    update.delete_column(column)
                elif step == "add":
                    update.add_column(column, StringType())
                else:
                    update.rename_column(step, column)

    @property
    def base(self) -> Any:
        return self.platform.lake.load("retail", "item")


def opened(folder: Path, dsn: str, **table: Any) -> AlteredShop:
    found = AlteredShop(folder, dsn, {**TYPES, "note": TYPES["name"]}, **table)
    found.sql(
        "CREATE TABLE item (id bigint PRIMARY KEY, name text, note text)",
        f"INSERT INTO item SELECT g, 'name ' || g, 'note ' || g FROM generate_series(1, {ROWS}) g",
        "ANALYZE item",
    )
    found.load_from_source()
    found.catch_up()
    return found


@pytest.fixture
def shop(tmp_path: Path, postgres_database: str) -> Iterator[AlteredShop]:
    found = opened(tmp_path, postgres_database)
    yield found
    found.platform.lake.close()


@MODES
def test_f4_a_column_of_base_dropped_and_added_again_makes_everything_read_anew(
    shop: AlteredShop, mode: str
) -> None:
    shop.prove(mode)
    snapshot = shop.base.current_snapshot()
    shop.alter_base(("drop", "note"), ("add", "note"))

    verdict, carried, notes = told(shop.go_on(mode))

    assert snapshot == shop.base.current_snapshot()
    assert (Verdict.DIFFERENT, 0) == (verdict, carried)
    assert "columns of base were renamed, made anew or given another type (note)" in notes


@MODES
def test_f4_columns_of_base_renamed_into_each_other_make_everything_read_anew(
    shop: AlteredShop, mode: str
) -> None:
    shop.prove(mode)
    shop.alter_base(("name", "kept"), ("note", "name"), ("kept", "note"))
    with shop.base.update_schema() as update:
        update.move_after("name", "id")

    verdict, carried, notes = told(shop.go_on(mode))

    assert (Verdict.DIFFERENT, 0) == (verdict, carried)
    assert "columns of base were renamed, made anew or given another type (name, note)" in notes


@MODES
def test_f4_columns_of_the_source_renamed_into_each_other_make_everything_read_anew(
    shop: AlteredShop, mode: str
) -> None:
    shop.prove(mode)
    shop.sql(
        "ALTER TABLE item RENAME name TO kept",
        "ALTER TABLE item RENAME note TO name",
        "ALTER TABLE item RENAME kept TO note",
    )

    verdict, carried, notes = told(shop.go_on(mode))

    assert (Verdict.DIFFERENT, 0) == (verdict, carried)
    assert "columns of the source table were renamed, made anew or given another type (name, note)" in notes


@pytest.mark.parametrize(
    "statement", ["TRUNCATE item", "ALTER TABLE item ALTER name TYPE text USING upper(name)"]
)
def test_a_source_table_that_was_truncated_or_rewritten_is_read_anew(
    shop: AlteredShop, statement: str
) -> None:
    shop.prove("incremental")
    shop.sql(statement)

    verdict, carried, notes = told(shop.go_on("incremental"))

    assert (Verdict.DIFFERENT, 0) == (verdict, carried)
    assert "the source table was rewritten or truncated since the table was proven" in notes


def test_a_source_table_altered_while_a_run_begins_is_no_match_though_no_row_would_be_read(
    shop: AlteredShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.prove("incremental")
    snapshot = PostgresReader.snapshot

    def altered(reader: PostgresReader) -> AbstractContextManager[PostgresSnapshot]:
        shop.sql("TRUNCATE item")
        return snapshot(reader)

    monkeypatch.setattr(PostgresReader, "snapshot", altered)
    found = shop.go_on("incremental")

    assert Verdict.ERROR is found.verdict
    assert "the source changed while it was read" in found.comparisons[0].reason


@MODES
def test_rows_of_base_that_do_not_count_as_deleted_any_more_are_found(
    tmp_path: Path, postgres_database: str, mode: str
) -> None:
    shop = opened(tmp_path, postgres_database, delete_mode="soft")
    try:
        shop.sql("DELETE FROM item WHERE id IN (5, 6)")
        shop.change(*({"Op": "D", "id": number, "name": None, "note": None} for number in (5, 6)))
        shop.apply()
        shop.prove(mode)
        shop.configure(delete_mode=DeleteMode.HARD)
        is_kept = told(shop.go_on(mode))[0]
        shop.prove(mode)
        with shop.base.transaction() as transaction:
            transaction.remove_properties(KEEPS_DELETED)

        verdict, carried, notes = told(shop.go_on(mode))
    finally:
        shop.platform.lake.close()

    assert (Verdict.MATCH, Verdict.DIFFERENT, 0) == (is_kept, verdict, carried)
    assert "it changed which rows of base count as deleted (`delete_mode`)" in notes


def test_other_images_and_what_an_earlier_version_did_not_record_make_everything_read_anew(
    shop: AlteredShop,
) -> None:
    shop.prove("incremental")
    shop.configure(images=Images.PARTIAL)
    of_images = told(shop.go_on("incremental"))
    shop.edit("incremental", lambda stored: stored["conditions"].pop("source_files"))
    of_earlier = told(shop.go_on("incremental"))

    assert [(Verdict.MATCH, 0)] * 2 == [of_images[:2], of_earlier[:2]]
    assert "`images` of the table changed since the table was proven" in of_images[2]
    assert "what an earlier version did not record may have changed" in of_earlier[2]
