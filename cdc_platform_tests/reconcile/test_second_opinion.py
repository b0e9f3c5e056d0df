"""A second implementation, by plain Python over rows and by SQL of its own, derives the same certificate."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pyarrow as pa
import pytest

from cdc_platform.reconcile.digest import RowDigest, Salt
from cdc_platform_tests.reconcile.shop import WholeShop

TYPES: dict[str, pa.DataType] = {"id": pa.int64(), "v": pa.string(), "n": pa.float64()}
SECRET = b"the salt of this test, no secret"
Row = tuple[Any, ...]

TAMPERED = [
    "",
    "DELETE FROM base WHERE id IN (5, 299)",
    "UPDATE base SET v = v || ' ' WHERE id % 100 = 0",
    "INSERT INTO base FROM base WHERE id = 1; UPDATE base SET n = NULL WHERE id = 200",
    "UPDATE base SET id = id + 1000 WHERE id > 290",
]


def holds(label: str, key: int) -> bool:
    """Whether a segment named as certificates name it holds a key."""
    low, _, high = label.removeprefix("from ").partition(" to below ")
    if label.startswith("below "):
        return key < int(label.removeprefix("below "))
    if label == "all keys":
        return True
    return label != "rows without a key" and int(low) <= key and (not high or key < int(high))


def derived(labels: Sequence[str], source: Sequence[Row], base: Sequence[Row]) -> list[Mapping[str, Any]]:
    """Return verdict, rows and differing keys of each segment, by comparing bags of rows."""
    found: list[Mapping[str, Any]] = []
    for label in labels:
        sides = [Counter(row for row in rows if holds(label, row[0])) for rows in (source, base)]
        keys = {row[0] for row in [*(sides[0] - sides[1]), *(sides[1] - sides[0])]}
        found.append(
            {
                "keys": label,
                "verdict": "DIFFERENT" if keys else "MATCH",
                "rows": {"source": sides[0].total(), "base": sides[1].total()},
                "different": len(keys),
            }
        )
    return found


@pytest.mark.postgres
def test_i3_every_segment_of_the_certificate_is_derived_again_from_the_rows_alone(
    tmp_path: Path, postgres_database: str
) -> None:
    shop = WholeShop(tmp_path, postgres_database, TYPES)
    shop.stock(
        "CREATE TABLE item (id bigint PRIMARY KEY, v text, n float8)",
        "INSERT INTO item SELECT g, 'v' || g, g / 3.0 FROM generate_series(1, 300) g",
        "ANALYZE item",
    )
    for statement in TAMPERED:
        shop.tamper(statement or "SELECT 1")
        proof = json.loads(json.dumps(shop.compare().certificate))
        table = shop.platform.lake.load("retail", "item")
        assert table is not None
        held = table.scan(snapshot_id=int(proof["snapshot_id"]), selected_fields=tuple(TYPES)).to_arrow()
        with psycopg.connect(postgres_database) as connection:
            rows = connection.execute("SELECT id, v, n FROM item").fetchall()

        segments = proof["segments"]
        in_base = list(zip(*held.select(list(TYPES)).to_pydict().values(), strict=True))
        again = derived([one["keys"] for one in segments], rows, in_base)
        assert again == [{name: one[name] for name in again[0]} for one in segments], statement
        assert ("DIFFERENT" if statement else "MATCH") == proof["verdict"]


def number(name: str) -> int:
    derived_ = hashlib.blake2b(name.encode(), digest_size=8, key=SECRET).digest()
    return int.from_bytes(derived_, "big")


def test_i3_the_digest_is_derived_again_by_sql_written_apart_from_its_description() -> None:
    """Lane 1: a secret with one hash of all and of NULLs. Lane 2: a secret, texts, numbers, NULLs."""
    salt = f"{number('before'):016x}"
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.execute(
            """CREATE TABLE rows_ AS SELECT i,
               CASE WHEN i % 5 > 0 THEN repeat('text ', 1 + i % 4) || i END AS v,
               CASE WHEN i % 7 > 0 THEN i / 3.0 END::DOUBLE AS n, 'w' || i % 3 AS w FROM range(500) r(i)"""
        )
        connection.execute(
            f"""CREATE TABLE steps AS SELECT *, [
                    CASE WHEN strlen(v) > 12 THEN hash(md5_number('{salt}' || v))
                         ELSE hash('{salt}' || v) END,
                    hash('{salt}' || w), hash(i), hash(n),
                    hash(i IS NULL, n IS NULL)] AS parts FROM rows_"""
        )
        apart = connection.execute(
            f"""SELECT count(*), sum(hash(xor({number("lane 1")}::UBIGINT, hash(i, v, n, w, parts[5])))),
                       sum(list_reduce(parts, lambda state, part: hash(xor(state, part)),
                                       {number("lane 2")}::UBIGINT)) FROM steps"""
        ).fetchone()
        digest = RowDigest(("BIGINT", "VARCHAR", "DOUBLE", "VARCHAR"), Salt(SECRET))
        found = connection.execute(f"SELECT {digest.aggregates(['i', 'v', 'n', 'w'])} FROM rows_").fetchone()

    assert apart == found
