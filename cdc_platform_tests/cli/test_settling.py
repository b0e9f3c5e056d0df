"""``cdc reconcile --settle`` as a person or a script runs it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cdc_platform.pipeline import Platform, take_in
from cdc_platform.testing import write_change_file
from cdc_platform_tests.cli.conftest import CONFIG, Cdc
from cdc_platform_tests.reconcile.shop import log_position

pytestmark = pytest.mark.postgres


@pytest.fixture
def in_flight(cdc: Cdc, project: Path, postgres_database: str, monkeypatch: pytest.MonkeyPatch) -> Cdc:
    """The command, where a change of order 1 reached raw and not base when its window was compared."""
    monkeypatch.setenv("CDC_SHOP_DSN", postgres_database)
    monkeypatch.setattr(Platform, "captured_position", lambda *_: log_position(postgres_database))
    connection = "    connection: {dsn: '${CDC_SHOP_DSN}'}\n    tables:\n"
    (project / "cdc.yaml").write_text(CONFIG.replace("    tables:\n", connection))
    with psycopg.connect(postgres_database, autocommit=True) as source:
        source.execute("CREATE TABLE orders (id bigint PRIMARY KEY, note text)")
        source.execute("INSERT INTO orders VALUES (1, 'a2'), (2, 'b'), (3, 'c')")
        assert 0 == cdc("apply").code
        source.execute("UPDATE orders SET note = 'a3' WHERE id = 1")
    event = {"Op": "U", "id": 1, "note": "a3"}
    late = datetime(2024, 5, 31, 21, tzinfo=UTC)
    write_change_file(project / "raw", "public", "orders", at=late, events=[event])
    take_in(Platform.open(project / "cdc.yaml"), "shop")
    assert "IN_FLIGHT" in cdc("reconcile", "--window", "2024-05-31").out
    return cdc


def queue_told(found: Any) -> tuple[str, int]:
    """Return the verdict and how many keys are left in the queue."""
    (one,) = found["reconciliations"]
    return one["verdict"], one["certificate"]["settling"]["queued"]


def test_a_key_is_left_in_flight_until_its_change_is_merged(in_flight: Cdc) -> None:
    waiting = in_flight("reconcile", "--settle")
    assert (1, True) == (
        waiting.code,
        "shop/orders: 1 key left in flight, the oldest for 0:00:" in waiting.out,
    )

    in_flight("apply")
    done = in_flight("reconcile", "--settle", "--json")
    assert (0, ("MATCH", 0)) == (done.code, queue_told(done.json))

    nothing = in_flight("reconcile", "--settle")
    assert (0, True) == (nothing.code, "no key is in flight" in nothing.err)


def test_keys_open_for_less_than_min_age_are_left_alone(in_flight: Cdc) -> None:
    in_flight("apply")

    young = in_flight("reconcile", "--settle", "--min-age", "3600", "--json")

    assert (0, []) == (young.code, young.json["reconciliations"])
    later = in_flight("reconcile", "--settle", "--json")
    assert (0, ("MATCH", 0)) == (later.code, queue_told(later.json))


def test_a_key_open_for_longer_than_max_age_is_unverified(in_flight: Cdc) -> None:
    old = in_flight("reconcile", "--settle", "--max-age", "0", "--json")

    assert (1, ("UNVERIFIED", 1)) == (old.code, queue_told(old.json))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--settle", "--full"), "--settle compares neither windows nor whole tables"),
        (("--settle", "--window", "2024-05-31"), "--settle compares neither windows nor whole tables"),
        (("--min-age", "5"), "add --settle"),
        (("--full", "--max-age", "5"), "add --settle"),
    ],
)
def test_options_that_do_not_go_together_are_refused(cdc: Cdc, options: tuple[str, ...], says: str) -> None:
    done = cdc("reconcile", *options)

    assert (2, True) == (done.code, says in done.err)
