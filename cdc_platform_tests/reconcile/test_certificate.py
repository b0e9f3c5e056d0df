"""Certificates of every kind of run and every verdict are of the schema, and the docs say what it says."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from jsonschema import Draft202012Validator

from cdc_platform.pipeline import reconcile
from cdc_platform.reconcile.certificate_schema import certificate_schema
from cdc_platform.reconcile.full import FullOptions, reconcile_full
from cdc_platform.reconcile.parquet_source import ParquetReader
from cdc_platform.reconcile.settle import settle
from cdc_platform.reconcile.verdict import Reconciliation, Verdict
from cdc_platform_tests.reconcile.certificates import is_valid
from cdc_platform_tests.reconcile.shop import WholeShop

DOCS = Path(__file__).parents[2] / "docs" / "reconciliation.md"
TYPES: dict[str, pa.DataType] = {"id": pa.int64(), "v": pa.string()}
WINDOW, ROWS = "2026-03-01", 300
COUNTS = ("kinds", "faults", "segment_verdicts", "key")
Run = Callable[[WholeShop], Reconciliation]


@pytest.fixture
def shop(tmp_path: Path, postgres_database: str, request: pytest.FixtureRequest) -> Iterator[WholeShop]:
    """Three segments, equal in the source and in base; row 5 was changed in the window."""
    found = WholeShop(tmp_path, postgres_database, TYPES, **getattr(request, "param", {}))
    found.stock(
        "CREATE TABLE item (id bigint PRIMARY KEY, v text)",
        f"INSERT INTO item SELECT g, 'v' || g FROM generate_series(1, {ROWS}) g",
        "ANALYZE item",
    )
    found.sql("UPDATE item SET v = 'new' WHERE id = 5")
    found.change({"Op": "U", "id": 5, "v": "new"})
    found.apply()
    found.catch_up()
    yield found
    found.platform.lake.close()


def window(shop: WholeShop) -> Reconciliation:
    return reconcile(shop.platform, "retail", "item", WINDOW)


def full(shop: WholeShop, **options: Any) -> Reconciliation:
    chosen = FullOptions(**{"rows_per_segment": 100, **options})
    return reconcile_full(shop.platform, "retail", "item", chosen)


def incremental(shop: WholeShop) -> Reconciliation:
    full(shop)
    return full(shop, incremental=True)


def keys_alone(shop: WholeShop) -> Reconciliation:
    return full(shop, keys_only=True)


def against_export(shop: WholeShop) -> Reconciliation:
    path = shop.raw.parent / "export.parquet"
    rows = [{"id": n, "v": "new" if n == 5 else f"v{n}"} for n in range(1, ROWS + 1)]
    pq.write_table(pa.Table.from_pylist(rows, pa.schema(TYPES)), path)
    return full(shop, reader=ParquetReader(shop.platform.lake, str(path)), origin=str(path))


def settling(shop: WholeShop) -> Reconciliation:
    shop.fall_behind()
    shop.sql("UPDATE item SET v = 'newer' WHERE id = 5")
    window(shop)
    found = settle(shop.platform, "retail", "item")
    assert found is not None
    return found


RUNS: dict[str, Run] = {
    "window": window,
    "full": full,
    "incremental": incremental,
    "export": against_export,
    "keys-and-versions": keys_alone,
    "settling": settling,
}
EACH_RUN = pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
KEYLESS = pytest.mark.parametrize("shop", [{"merge_key": (), "no_key": "multiset"}], indirect=True)


def stored(found: Reconciliation) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(json.dumps(found.certificate))
    return read


def objects_of(node: Any) -> Iterator[dict[str, Any]]:
    """Yield every object with fields of its own: counts have names of which any may be left out."""
    if isinstance(node, list):
        for one in node:
            yield from objects_of(one)
    elif isinstance(node, dict):
        yield node
        for name, one in node.items():
            if name not in COUNTS and not (name == "rows" and "carried" in node):
                yield from objects_of(one)


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(certificate_schema())


@pytest.mark.postgres
@EACH_RUN
def test_the_certificate_of_every_kind_of_run_is_valid(shop: WholeShop, run: Run) -> None:
    assert is_valid(stored(run(shop)))


@pytest.mark.postgres
@KEYLESS
@pytest.mark.parametrize("run", [window, full, against_export], ids=["window", "full", "export"])
def test_the_certificate_of_a_table_without_a_key_is_valid(shop: WholeShop, run: Run) -> None:
    found = run(shop)

    assert ([], True) == (found.certificate["merge_key"], is_valid(stored(found)))


def lose_a_row(shop: WholeShop) -> None:
    shop.tamper("DELETE FROM base WHERE id = 5")


def change_the_source_alone(shop: WholeShop) -> None:
    shop.fall_behind()
    shop.sql("UPDATE item SET v = 'newer' WHERE id = 5")


def keep_capture_unknown(shop: WholeShop) -> None:
    shop.platform.captured = lambda: None
    shop.sql("UPDATE item SET v = 'newer' WHERE id = 5")


def drop_the_source(shop: WholeShop) -> None:
    shop.sql("DROP TABLE item")


@pytest.mark.postgres
@pytest.mark.parametrize("run", [window, full], ids=["window", "full"])
@pytest.mark.parametrize(
    ("verdict", "happens"),
    [
        (Verdict.MATCH, lambda shop: None),
        (Verdict.DIFFERENT, lose_a_row),
        (Verdict.IN_FLIGHT, change_the_source_alone),
        (Verdict.UNVERIFIED, keep_capture_unknown),
        (Verdict.ERROR, drop_the_source),
    ],
)
def test_the_certificate_of_every_verdict_is_valid(
    shop: WholeShop, run: Run, verdict: Verdict, happens: Callable[[WholeShop], None]
) -> None:
    happens(shop)

    found = run(shop)

    assert (verdict, True) == (found.verdict, is_valid(stored(found)))


@pytest.mark.postgres
@EACH_RUN
def test_a_certificate_that_lacks_a_field_or_has_one_too_many_anywhere_is_not_valid(
    shop: WholeShop, run: Run
) -> None:
    proof = stored(run(shop))
    taken = []
    for place, node in enumerate(objects_of(proof)):
        for name in [*node, "new"]:
            changed = copy.deepcopy(proof)
            one = list(objects_of(changed))[place]
            one[name] = "new"
            if name != "new":
                del one[name]
            if is_valid(changed):
                taken.append((place, name))

    assert [] == taken


@pytest.mark.postgres
@EACH_RUN
def test_a_verdict_there_is_not_is_not_valid_wherever_it_stands(shop: WholeShop, run: Run) -> None:
    proof = stored(run(shop))
    judged = [place for place, node in enumerate(objects_of(proof)) if "verdict" in node]
    taken = []
    for place in judged:
        changed = copy.deepcopy(proof)
        list(objects_of(changed))[place]["verdict"] = "EQUAL"
        if is_valid(changed):
            taken.append(place)

    assert (True, []) == (len(judged) > 2, taken)


@pytest.mark.postgres
def test_a_certificate_of_one_kind_of_run_is_not_valid_as_that_of_another(shop: WholeShop) -> None:
    of_window, of_table = stored(window(shop)), stored(full(shop))

    renamed = [{**of_window, "window": of_table["window"]}, {**of_table, "window": of_window["window"]}]

    assert [False, False] == [is_valid(one) for one in renamed]


@pytest.mark.postgres
@pytest.mark.parametrize("counts", ["kinds", "faults", "rows"])
def test_a_count_of_what_there_is_not_is_not_valid(shop: WholeShop, counts: str) -> None:
    proof = stored(full(shop))
    proof["comparisons"][0][counts] = {"other": 1}

    assert not is_valid(proof)


def described() -> Iterator[tuple[str, str, str]]:
    """Yield field, meaning and kinds of run as the schema has them, in its order."""
    parts = certificate_schema()["$defs"]
    common = parts["WindowCertificate"]["properties"]
    for name in common:
        yield from rows_of(parts, name, common[name], "all")
    for kind, runs in (("WholeCertificate", "whole table"), ("SettlingCertificate", "settling")):
        own = {name: one for name, one in parts[kind]["properties"].items() if name not in common}
        for name, one in own.items():
            yield from rows_of(parts, name, one, runs)


def rows_of(
    parts: dict[str, Any], name: str, field: dict[str, Any], runs: str
) -> Iterator[tuple[str, str, str]]:
    """Yield the row of a field; of the large ones those of their fields, too."""
    inner = fields_of(parts, field)
    if name not in ("comparisons", "segments", "settling"):
        yield f"`{name}`", field["description"] + told(parts, inner), runs
        return
    prefix = f"{name}[]" if "items" in field else name
    yield f"`{name}`", field["description"], runs
    for part, one in inner.items():
        yield f"`{prefix}.{part}`", one["description"] + told(parts, fields_of(parts, one)), runs


def told(parts: dict[str, Any], fields: dict[str, Any]) -> str:
    texts = [
        f"`{name}` {one['description']}{told(parts, fields_of(parts, one))}" for name, one in fields.items()
    ]
    return f" ({'; '.join(texts)})" if texts else ""


def fields_of(parts: dict[str, Any], field: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of the object a field is, or has a list of; none when it has neither."""
    options = [field, field.get("items", {}), *field.get("anyOf", ())]
    names = [one["$ref"].rpartition("/")[2] for one in options if "$ref" in one]
    found: dict[str, Any] = parts[names[0]]["properties"] if names else {}
    return found


def test_the_table_in_the_docs_is_what_the_schema_says() -> None:
    told_in_docs = DOCS.read_text().partition("| field | meaning | runs |\n|---|---|---|\n")[2]

    assert [f"| {' | '.join(row)} |" for row in described()] == told_in_docs.partition("\n\n")[0].splitlines()
