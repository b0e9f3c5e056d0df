"""A lake may lie in folders that are called like columns: no value is taken from there."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from cdc_platform.lake.read import scan
from cdc_platform.reconcile.verdict import Verdict
from cdc_platform.reconcile.window import compare_window
from cdc_platform_tests.reconcile.shop import WholeShop


def test_deletes_are_remembered_in_folders_called_like_columns(tmp_path: Path) -> None:
    folder = tmp_path / "id=7" / "generation=1" / "position=0" / "pos=0" / "v=x"
    folder.mkdir(parents=True)
    shop = WholeShop(folder, None, {"id": pa.int64(), "v": pa.string()})
    shop.load([{"id": number, "v": "a"} for number in (1, 2, 3)])
    shop.change({"Op": "D", "id": 1}, {"Op": "U", "id": 2, "v": "b"}, minutes=20)
    shop.apply()

    shop.change({"Op": "U", "id": 1, "v": "late"}, {"Op": "U", "id": 3, "v": "c"}, minutes=10)
    shop.apply()

    rows = scan(shop.platform.lake, "retail", "item", columns=["id", "v"]).read_all().to_pylist()
    found = compare_window(shop.platform, "retail", "item", "2026-03-01")
    shop.platform.lake.close()
    assert [(2, "b"), (3, "c")] == sorted((row["id"], row["v"]) for row in rows)
    assert Verdict.MATCH is found.comparisons[0].verdict
