from __future__ import annotations

from cdc_platform_tests.lake.conftest import Bench
from cdc_platform_tests.lake.memory_files import change_file, load_file


def test_changes_of_one_key_in_one_transaction_apply_in_order_of_position(bench: Bench) -> None:
    bench.merge(
        change_file("a", ("I", 1, "new", 10), ("U", 1, "newer", 11), ("D", 1, None, 12), ("I", 2, "b", 13))
    )

    assert [(2, "b")] == bench.rows()


def test_a_reinserted_row_survives(bench: Bench) -> None:
    bench.merge(load_file("l", (1, "old")))
    bench.merge(change_file("a", ("D", 1, None, 10), ("I", 1, "again", 11), generation=1))

    assert [(1, "again")] == bench.rows()
