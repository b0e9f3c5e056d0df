"""Random pairs of tables: no MATCH on unequal ones, no DIFFERENT on equal ones, always the right keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import duckdb
import pytest

from cdc_platform.config.model import LakeConfig, PlatformConfig
from cdc_platform.lake.read import open_workspace
from cdc_platform.pipeline import Platform
from cdc_platform.reconcile import drill, scan
from cdc_platform_tests.reconcile.packets import faults_of, random_packet
from cdc_platform_tests.reconcile.pair_places import ExportPlace, MemoryPlace, PostgresPlace
from cdc_platform_tests.reconcile.pairs import Pair, compare_pair, fault_of, random_pair

SEED = 20260301


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as opened:
        opened.execute("SET TimeZone = 'UTC'")
        yield opened


@pytest.mark.parametrize("number", range(25))
def test_a_random_pair_is_judged_as_the_oracle_does(
    connection: duckdb.DuckDBPyConnection, number: int
) -> None:
    random = Random(SEED + number)
    pair = random_pair(random)
    found = compare_pair(
        connection, pair, rows_per_segment=random.choice([1, 5, 1000]), ranged=random.random() < 0.5
    )

    assert fault_of(pair, found) is None


@pytest.fixture
def every_segment_is_drilled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Differences are in every second pair, which is systemic."""
    monkeypatch.setattr(drill, "SYSTEMIC_SHARE", 1.0)


@pytest.fixture(params=[0, scan.MOST_KEPT], ids=["read again", "kept"])
def pairs_are_kept_or_read_again(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Segments that differ are read a second time, or their pairs were kept."""
    monkeypatch.setattr(scan, "MOST_KEPT", request.param)


@pytest.mark.usefixtures("every_segment_is_drilled", "pairs_are_kept_or_read_again")
@pytest.mark.parametrize("number", range(4))
def test_many_pairs_in_one_comparison_are_each_judged_as_the_oracle_does(
    connection: duckdb.DuckDBPyConnection, number: int
) -> None:
    packet = random_packet(Random(SEED + number), 60)

    packet, found = MemoryPlace(connection, ranged=False).compare(packet)

    assert [] == faults_of(packet, found)


@pytest.mark.usefixtures("every_segment_is_drilled", "pairs_are_kept_or_read_again")
def test_pairs_read_by_ranges_of_their_keys_are_judged_as_the_oracle_does(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    packet, found = MemoryPlace(connection, ranged=True).compare(random_packet(Random(SEED), 12))

    assert [] == faults_of(packet, found)


@pytest.mark.usefixtures("every_segment_is_drilled", "pairs_are_kept_or_read_again")
@pytest.mark.parametrize("number", range(1))
def test_exports_and_iceberg_tables_are_judged_as_the_oracle_does(tmp_path: Path, number: int) -> None:
    config = PlatformConfig(base_folder=tmp_path, lake=LakeConfig(warehouse="warehouse"), sources={})
    lake = Platform(config).lake
    with closing(lake), closing(open_workspace(lake, iceberg=True)) as workspace:
        place = ExportPlace(tmp_path, lake, workspace)
        packet, found = place.compare(random_packet(Random(SEED + number), 60))

    assert [] == faults_of(packet, found)


@pytest.mark.postgres
@pytest.mark.usefixtures("every_segment_is_drilled", "pairs_are_kept_or_read_again")
@pytest.mark.parametrize(("number", "has_key"), [(0, False), (2, True)])
def test_tables_of_a_real_source_are_judged_as_the_oracle_does(
    connection: duckdb.DuckDBPyConnection, postgres_database: str, number: int, has_key: bool
) -> None:
    packet = random_packet(Random(SEED + number), 12 if has_key else 60)

    packet, found = PostgresPlace(postgres_database, connection, has_key).compare(packet)

    assert [] == faults_of(packet, found)


def test_the_oracle_finds_a_swap_of_values_that_are_equal_by_type_harmless() -> None:
    pair = Pair(("k", "v"), (), 1, ((1, 0.0), (2, float("nan"))), ((2, float("nan")), (1, -0.0)))

    assert set() == pair.differing_keys()
