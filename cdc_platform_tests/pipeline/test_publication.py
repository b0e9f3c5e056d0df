"""Publishing only what reconciles, through a real source: raw files, merges, verdicts, readers of main."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cdc_platform.config.model import Publish
from cdc_platform.errors import MergeError
from cdc_platform.lake.branch import held_back
from cdc_platform.pipeline import Publication, merge_table, publish, reconcile, take_in
from cdc_platform.reconcile.full import FullOptions, reconcile_full
from cdc_platform.reconcile.results import latest_verdicts
from cdc_platform.table_status import status
from cdc_platform.testing import write_change_file, write_load_file
from cdc_platform_tests.reconcile.shop import DAY, ItemShop

pytestmark = pytest.mark.postgres

TODAY, TOMORROW = "2026-03-01", "2026-03-02"
NEXT_DAY = 24 * 60
TYPES: dict[str, pa.DataType] = {"id": pa.int64(), "name": pa.string()}


class Shop(ItemShop):
    """One table whose main waits for verdicts."""

    def load(self, *rows: dict[str, Any]) -> None:
        write_load_file(self.raw, "public", "item", rows, at=DAY, types=TYPES)

    def change(self, *events: dict[str, Any], minutes: int = 10) -> None:
        moment = DAY + timedelta(minutes=minutes)
        write_change_file(self.raw, "public", "item", at=moment, events=events, types=TYPES)

    def main(self) -> list[tuple[int, str]]:
        """Return what another program reads: pyiceberg's own scan of the catalog's table."""
        lake = self.platform.lake
        table = lake.catalog.load_table(lake.identifier("retail", "item"))
        rows = table.scan(selected_fields=("id", "name")).to_arrow().to_pylist()
        return sorted((row["id"], row["name"]) for row in rows)

    def publish(self, *windows: str) -> Publication:
        """Reconcile ``windows``, then publish."""
        for window in windows:
            reconcile(self.platform, "retail", "item", window)
        return publish(self.platform, "retail", "item")

    def with_option(self, option: Publish) -> Shop:
        """Return the shop with another ``publish`` in its cdc.yaml."""
        config = self.platform.config
        (table,) = config.sources["retail"].tables
        changed = table.model_copy(update={"publish": option})
        source = config.sources["retail"].model_copy(update={"tables": (changed,)})
        self.platform.lake.close()
        captured = self.platform.captured
        self.platform = type(self.platform)(config.model_copy(update={"sources": {"retail": source}}))
        self.platform.captured = captured
        return self


@pytest.fixture
def shop(tmp_path: Path, postgres_database: str) -> Iterator[Shop]:
    """Two rows loaded and merged, nothing reconciled yet."""
    found = Shop(tmp_path, postgres_database, publish="on_match")
    found.sql(
        "CREATE TABLE item (id bigint PRIMARY KEY, name text)",
        "INSERT INTO item VALUES (1, 'pen'), (2, 'ink')",
    )
    found.load({"id": 1, "name": "pen"}, {"id": 2, "name": "ink"})
    found.apply()
    found.catch_up()
    yield found
    found.platform.lake.close()


LOADED = [(1, "pen"), (2, "ink")]


def test_match_moves_main_to_what_was_merged(shop: Shop) -> None:
    assert [] == shop.main()

    found = shop.publish(TODAY)

    assert (LOADED, 1, 0) == (shop.main(), found.moved, found.pending)


def test_different_keeps_main_and_says_which_window(shop: Shop) -> None:
    shop.publish(TODAY)
    shop.change({"Op": "U", "id": 1, "name": "wrong"})
    shop.apply()

    found = shop.publish(TODAY)

    assert (LOADED, True, 1) == (shop.main(), found.is_refused, found.pending)
    assert f"{TODAY}: it is DIFFERENT" in found.sentence


def test_the_mend_of_a_main_that_was_written_names_the_table_as_commands_want_it(shop: Shop) -> None:
    shop.publish(TODAY)
    shop.change({"Op": "U", "id": 1, "name": "later"})
    shop.apply()
    main = shop.platform.lake.load_published("retail", "item")
    assert main is not None
    main.append(main.scan().to_arrow())

    def refused(act: Callable[[], object]) -> str:
        with pytest.raises(MergeError, match="another program wrote main") as error:
            act()
        return error.value.mend

    held = refused(lambda: publish(shop.platform, "retail", "item"))
    shop.with_option(Publish.ALWAYS)
    let_go = [refused(lambda: publish(shop.platform, "retail", "item")), refused(shop.apply)]

    told = re.compile(r"cdc rollback retail/item --to-snapshot \d+ && cdc apply -t retail/item$")
    assert all(told.search(mend) for mend in (held, *let_go))


def test_what_is_not_reconciled_is_pending_and_no_error(shop: Shop) -> None:
    found = shop.publish()

    assert ([], 1, False) == (shop.main(), found.pending, found.is_refused)
    assert "it was not reconciled yet" in found.sentence


def test_a_change_on_its_way_keeps_main_without_an_error(shop: Shop) -> None:
    shop.publish(TODAY)
    shop.change({"Op": "U", "id": 1, "name": "old"})
    shop.apply()
    shop.fall_behind()
    shop.sql("UPDATE item SET name = 'new' WHERE id = 1")

    found = shop.publish(TODAY)

    assert (LOADED, ["IN_FLIGHT"]) == (shop.main(), [one.verdict for one in found.held])
    assert not found.is_refused


def test_a_late_file_of_a_published_window_waits_for_a_new_verdict(shop: Shop) -> None:
    shop.change({"Op": "I", "id": 3, "name": "nib"}, minutes=NEXT_DAY)
    shop.sql("INSERT INTO item VALUES (3, 'nib')")
    shop.apply()
    assert 0 == shop.publish(TODAY, TOMORROW).pending
    shop.change({"Op": "U", "id": 2, "name": "late"}, minutes=20)
    shop.sql("UPDATE item SET name = 'late' WHERE id = 2")
    shop.apply()

    waiting = shop.publish(TOMORROW)
    seen = shop.main()
    done = shop.publish(TODAY)

    assert ([TODAY], [(1, "pen"), (2, "ink"), (3, "nib")]) == ([one.window for one in waiting.held], seen)
    assert ([(1, "pen"), (2, "late"), (3, "nib")], 0) == (shop.main(), done.pending)


def test_windows_of_a_backfill_are_published_in_one_move_once_the_last_is_proven(shop: Shop) -> None:
    for day in range(1, 4):
        shop.change({"Op": "I", "id": 10 + day, "name": f"day {day}"}, minutes=day * NEXT_DAY)
        shop.sql(f"INSERT INTO item VALUES ({10 + day}, 'day {day}')")
    take_in(shop.platform, "retail")
    windows = shop.platform.windows("retail", "item")
    for window in reversed(windows):
        merge_table(shop.platform, "retail", "item", [window])

    found = [shop.publish(window) for window in windows]

    assert [4, 4, 4, 0] == [one.pending for one in found]
    assert [*LOADED, (11, "day 1"), (12, "day 2"), (13, "day 3")] == shop.main()


def test_a_window_that_differs_holds_what_follows_until_it_is_repaired(shop: Shop) -> None:
    shop.publish(TODAY)
    shop.change({"Op": "U", "id": 1, "name": "wrong"})
    shop.apply()
    shop.change({"Op": "I", "id": 3, "name": "nib"}, minutes=NEXT_DAY)
    shop.sql("INSERT INTO item VALUES (3, 'nib')")
    shop.apply()
    assert 2 == shop.publish(TODAY, TOMORROW).pending
    shop.change({"Op": "U", "id": 1, "name": "pen"}, minutes=30)
    shop.apply()

    found = shop.publish(TODAY)

    assert ([*LOADED, (3, "nib")], 3) == (shop.main(), found.moved)


def test_rows_that_are_equal_are_published_though_capture_may_bring_more_of_their_window(shop: Shop) -> None:
    shop.fall_behind()
    shop.sql("CREATE TABLE elsewhere (n int)")

    found = shop.publish(TODAY)

    assert (1, LOADED) == (found.moved, shop.main())
    assert {TODAY: "IN_FLIGHT"} == latest_verdicts(shop.platform.lake)["retail", "item"]


def test_rows_that_differ_are_not_published_while_capture_may_bring_more(shop: Shop) -> None:
    shop.fall_behind()
    shop.sql("UPDATE item SET name = 'on its way' WHERE id = 1")

    assert (0, []) == (shop.publish(TODAY).moved, shop.main())


def test_a_full_comparison_publishes_what_it_found_equal(shop: Shop) -> None:
    shop.catch_up()
    reconcile_full(shop.platform, "retail", "item", FullOptions())

    assert (0, LOADED) == (shop.publish().pending, shop.main())


def test_a_crash_between_the_verdict_and_the_publication_loses_nothing(shop: Shop) -> None:
    reconcile(shop.platform, "retail", "item", TODAY)
    again = shop.with_option(Publish.ON_MATCH)

    assert (1, LOADED) == (again.publish().moved, again.main())


def test_a_crash_between_a_merge_and_its_verdict_loses_nothing(shop: Shop) -> None:
    again = shop.with_option(Publish.ON_MATCH)
    again.apply()

    assert (1, LOADED) == (again.publish(TODAY).moved, again.main())


def test_a_dry_run_says_what_would_be_published_and_moves_nothing(shop: Shop) -> None:
    reconcile(shop.platform, "retail", "item", TODAY)

    found = publish(shop.platform, "retail", "item", dry_run=True)

    assert (1, []) == (found.moved, shop.main())
    assert "would be moved over 1 snapshot " in found.sentence


def test_turned_on_later_the_next_merge_waits_and_turned_off_all_is_published(shop: Shop) -> None:
    free = shop.with_option(Publish.ALWAYS)
    free.apply()
    assert LOADED == free.main()
    held = free.with_option(Publish.ON_MATCH)
    held.change({"Op": "U", "id": 1, "name": "wrong"})
    held.apply()
    assert (LOADED, 1) == (held.main(), held.publish(TODAY).pending)

    found = held.with_option(Publish.ALWAYS).publish()

    assert ([(1, "wrong"), (2, "ink")], 1) == (shop.main(), found.moved)


def test_the_status_of_a_table_is_that_of_main_with_what_waits(shop: Shop) -> None:
    (before,) = status(shop.platform)
    shop.publish(TODAY)
    (after,) = status(shop.platform)

    assert ((0, 1), (2, 0)) == ((before.rows, before.unpublished), (after.rows, after.unpublished))


def test_readers_of_main_never_see_what_is_pending_while_it_grows(shop: Shop) -> None:
    shop.publish(TODAY)
    seen = []
    for number in range(4):
        shop.change({"Op": "U", "id": 1, "name": f"wrong {number}"}, minutes=20 + number)
        shop.apply()
        shop.publish(TODAY)
        seen.append(shop.main())

    base = shop.platform.lake.load("retail", "item")
    assert base is not None
    assert ([LOADED] * 4, 4) == (seen, len(list(held_back(base))))
