"""One setting bounds the memory of a full comparison, and one too small for it is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cdc_platform.config.model import EngineConfig, bytes_of
from cdc_platform.errors import ConfigError
from cdc_platform.lake.catalog import open_lake
from cdc_platform.lake.read import open_workspace
from cdc_platform.reconcile import doubled_keys, full
from cdc_platform.reconcile.memory import memory_shares
from cdc_platform.reconcile.repeated_numbers import RepeatedNumbers
from cdc_platform.reconcile.verdict import Verdict
from cdc_platform_tests.lake.conftest import lake_config
from cdc_platform_tests.reconcile.shop import WholeShop

TYPES = {"id": pa.int64(), "name": pa.string()}


def with_memory(shop: WholeShop, limit: str) -> WholeShop:
    engine = EngineConfig(memory_limit=limit)
    shop.platform.config = shop.platform.config.model_copy(update={"engine": engine})
    return shop


@pytest.mark.parametrize("limit", ["400MB", "512MB", "700MB", "1GB", "2GB", "16GiB"])
def test_what_a_process_holds_leaves_the_engine_less_than_the_setting(limit: str) -> None:
    shares, process = memory_shares(EngineConfig(memory_limit=limit)), 230 * 1000**2

    assert process + shares.engine + 8 * shares.hashes_at_once < bytes_of(limit)


def test_a_large_setting_is_the_engine_s_for_the_most_part() -> None:
    assert 1_200_000_000 == memory_shares(EngineConfig(memory_limit="2GB")).engine


def test_a_setting_too_small_is_refused_with_the_least_that_will_do() -> None:
    with pytest.raises(ConfigError, match=r"300MB is too small .* give it 357MB at least"):
        memory_shares(EngineConfig(memory_limit="300MB"))
    with pytest.raises(ConfigError, match="give it 357MB at least"):
        memory_shares(EngineConfig(memory_limit="356MB"))
    assert 64_000_000 <= memory_shares(EngineConfig(memory_limit="357MB")).engine < 65_000_000


@pytest.mark.postgres
def test_a_comparison_keeps_to_its_setting_or_refuses_it(
    tmp_path: Path, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits, held = [], []

    class Told(RepeatedNumbers):
        def __init__(self, folder: Path, *, at_once: int, expected: int) -> None:
            held.append(at_once)
            super().__init__(folder, at_once=at_once, expected=expected)

    def told(*of: Any) -> Any:
        ((limit,),) = of[1].execute("SELECT current_setting('memory_limit')").fetchall()
        limits.append(limit)
        return compare(*of)

    compare = full._compare
    monkeypatch.setattr(full, "_compare", told)
    monkeypatch.setattr(doubled_keys, "RepeatedNumbers", Told)
    shop = WholeShop(tmp_path, postgres_database, TYPES)
    shop.stock("CREATE TABLE item (id bigint, name text)", "INSERT INTO item VALUES (1, 'a'), (20, 'b')")

    found = with_memory(shop, "512MB").compare()

    assert (Verdict.MATCH, ["200.2 MiB"], [4_000_000]) == (found.verdict, limits, held)
    with pytest.raises(ConfigError, match="100MB is too small"):
        with_memory(shop, "100MB").compare()
    shop.platform.lake.close()


def test_the_engine_keeps_no_copy_of_files_of_this_machine(tmp_path: Path) -> None:
    with open_lake(lake_config(tmp_path)) as lake, open_workspace(lake) as connection:
        assert [(False,)] == connection.execute(
            "SELECT current_setting('enable_external_file_cache')"
        ).fetchall()
