"""``cdc reconcile --full`` and ``--against`` as a person or a script runs them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cdc_platform_tests.cli.conftest import Cdc

LOAD = "raw/public/orders/LOAD00000001.parquet"


def test_a_whole_table_is_compared_with_an_export_and_every_segment_is_told(cdc: Cdc) -> None:
    cdc("apply")

    done = cdc("reconcile", "--table", "orders", "--against", LOAD, "--json")

    (found,) = done.json["reconciliations"]
    keys = {one["key"]["id"] for one in found["comparisons"][0]["discrepancies"]}
    assert (1, "UNVERIFIED", "export", {1, 3}) == (done.code, found["verdict"], found["window"], keys)
    assert 2 == len(found["certificate"]["segments"])
    assert "shop/orders: 2 of 2 segments, 2 rows" in done.err


def test_a_table_without_a_key_is_compared_whole(cdc: Cdc, project: Path) -> None:
    config = project / "cdc.yaml"
    config.write_text(config.read_text().replace("merge_key: [id]", "no_key: append"))
    cdc("apply")

    done = cdc("reconcile", "--table", "orders", "--against", LOAD, "--json")
    pq.write_table(pa.table({"id": [1, 2], "note": ["a", "x"]}), project / "other.parquet")
    other = cdc("reconcile", "--table", "orders", "--against", str(project / "other.parquet"))

    (found,) = done.json["reconciliations"]
    assert (0, "MATCH", 1) == (done.code, found["verdict"], len(found["certificate"]["segments"]))
    assert (1, True) == (other.code, "UNVERIFIED" in other.out)


def test_columns_an_export_lacks_are_named_and_stand_against_a_match(cdc: Cdc, tmp_path: Path) -> None:
    cdc("apply")
    rows = cdc("show", "orders", "--limit", "0", "--json").json
    pq.write_table(pa.table({"id": pa.array([row["id"] for row in rows])}), tmp_path / "keys.parquet")

    done = cdc("reconcile", "--table", "orders", "--against", str(tmp_path / "keys.parquet"))

    assert (1, True) == (done.code, "UNVERIFIED" in done.out)
    told = " ".join(done.out.split())
    assert "shop/orders export source_matches_base: not compared: " in told
    assert "(in base and not in the export)" in told


def test_a_full_run_without_a_connection_is_not_verified_and_leaves_the_status_alone(cdc: Cdc) -> None:
    cdc("apply")

    done = cdc("reconcile", "--full")

    assert 1 == done.code
    assert "no `connection` in cdc.yaml" in done.out
    assert [None] == [one["verdict"] for one in cdc("status", "--json").json]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--resume",), "add --full"),
        (("--max-rows", "5"), "add --full"),
        (("--window", "2999-01-01"), "has not begun"),
        (("--ages", "--full"), "--ages compares nothing"),
        (("--ages", "--settle"), "--ages compares nothing"),
        (("--full", "--all"), "a full run compares no windows"),
        (("--full", "--position", "0/1"), "name the export by --against"),
        (("--against", "x", "--table", "orders", "--position", "zz"), "'zz' is not a log position"),
        (("--full", "--keys-and-versions"), "another comparison than --full"),
        (("--full", "--incremental"), "an incremental run goes on from full ones"),
        (("--incremental", "--window", "2024-05-31"), "a full run compares no windows"),
        (("--version-column", "at"), "add --keys-and-versions"),
        (("--full", "--window", "2024-05-31"), "a full run compares no windows"),
    ],
)
def test_options_that_do_not_go_together_are_refused(cdc: Cdc, options: tuple[str, ...], says: str) -> None:
    done = cdc("reconcile", *options)

    assert 2 == done.code
    assert says in done.err


def test_an_export_that_is_not_there_is_told_in_our_words(cdc: Cdc) -> None:
    cdc("apply")

    done = cdc("reconcile", "--table", "orders", "--against", "nowhere/at/all")

    assert 3 == done.code
    assert "there is no Parquet file" in " ".join(done.out.split())
    assert "IO Error" not in done.out


def test_ages_tell_of_each_table_that_it_was_never_compared(cdc: Cdc) -> None:
    cdc("apply")

    done = cdc("reconcile", "--ages")
    told = cdc("reconcile", "--ages", "--json")

    assert (1, 1) == (done.code, told.code)
    assert "never compared" in " ".join(done.out.split())
    assert [(False, None)] == [
        (one["is_kept"], one["oldest_age_seconds"]) for one in told.json["verification"]
    ]


def test_an_incremental_run_without_a_connection_is_not_verified(cdc: Cdc) -> None:
    cdc("apply")

    done = cdc("reconcile", "--incremental", "--json")

    (found,) = done.json["reconciliations"]
    assert (1, "UNVERIFIED", "incremental") == (done.code, found["verdict"], found["window"])
