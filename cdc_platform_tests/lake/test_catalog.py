"""Opening the catalog, also by several at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cdc_platform.config.model import PlatformConfig
from cdc_platform.lake.catalog import open_lake

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
