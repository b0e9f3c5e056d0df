"""Opening the catalog, also by several at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cdc_platform.config.model import PlatformConfig
from cdc_platform.errors import MergeError
from cdc_platform.lake.catalog import open_lake
from cdc_platform_tests.lake.conftest import SOURCE, Bench
from cdc_platform_tests.lake.memory_files import change_file, load_file

AT_ONCE = 4


def test_a_new_catalog_may_be_opened_by_several_at_once(tmp_path: Path) -> None:
    for number in range(3):
        config = PlatformConfig(base_folder=tmp_path / str(number))
        together = threading.Barrier(AT_ONCE)

        def make_namespace(
            _: int, config: PlatformConfig = config, together: threading.Barrier = together
        ) -> bool:
            together.wait()
            with open_lake(config) as lake:
                lake.ensure_namespace("shop")
                return lake.catalog.namespace_exists("shop")

        with ThreadPoolExecutor(AT_ONCE) as pool:
            assert [True] * AT_ONCE == list(pool.map(make_namespace, range(AT_ONCE)))


def test_a_table_the_catalog_has_lost_is_not_begun_anew_without_a_word(bench: Bench) -> None:
    bench.merge(load_file("l", (1, "a")), completed=1)
    bench.lake.catalog.drop_table(bench.lake.identifier(SOURCE, bench.config.id))

    with pytest.raises(MergeError, match=r"records of merges into it.*batches") as refused:
        bench.merge(change_file("c", ("U", 1, "c", 10), generation=1))

    assert f"{SOURCE}.{bench.config.id}" in str(refused.value)
    assert bench.lake.load(SOURCE, bench.config.id) is None
