"""The retail sample: products, stores and orders in a PostgreSQL, and a workload that keeps them moving.

Random by seed, so that a run can be repeated. The workload does what makes change capture hard: keys change,
rows come back after their delete, one transaction touches a row more than once.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

from cdc_platform.errors import LocalServiceError, redact

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

TABLES = ("product", "store", "productorder")

_CREATE = """
CREATE TABLE IF NOT EXISTS product (
    product_id int PRIMARY KEY,
    name text NOT NULL,
    category text NOT NULL,
    price numeric(10,2) NOT NULL,
    active boolean NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE TABLE IF NOT EXISTS store (
    store_id int PRIMARY KEY,
    name text NOT NULL,
    city text NOT NULL,
    region text NOT NULL,
    opened_on date NOT NULL
);
CREATE TABLE IF NOT EXISTS productorder (
    order_id bigint PRIMARY KEY,
    product_id int NOT NULL,
    store_id int NOT NULL,
    quantity int NOT NULL,
    unit_price numeric(10,2) NOT NULL,
    status text NOT NULL,
    note text,
    ordered_at timestamptz NOT NULL
)"""

_FILL_PRODUCT = """
INSERT INTO product
SELECT i, (ARRAY['Pen','Notebook','Lamp','Chair','Mug','Backpack','Bottle','Clock'])[1 + i %% 8] || ' ' || i,
       (ARRAY['office','home','travel','kitchen'])[1 + i %% 4],
       round((0.99 + (i * 7919 %% 20000) / 100.0)::numeric, 2),
       i %% 20 <> 0, now() - make_interval(mins => i)
FROM generate_series(1, %(rows)s) AS i"""

_FILL_STORE = """
INSERT INTO store
SELECT i, 'Store ' || i, (ARRAY['Oslo','Rome','Lyon','Kyoto','Lima','Accra','Perth'])[1 + i %% 7],
       (ARRAY['north','south','east','west'])[1 + i %% 4], date '2015-01-01' + i * 11
FROM generate_series(1, %(rows)s) AS i"""

_FILL_ORDER = """
INSERT INTO productorder
SELECT i, p.product_id, 1 + (i * 31 %% %(stores)s), 1 + i %% 5, p.price,
       (ARRAY['new','paid','paid','shipped','shipped','cancelled'])[1 + i %% 6],
       CASE WHEN i %% 10 = 0 THEN 'gift, "wrapped"' END, now() - make_interval(mins => (%(rows)s - i)::int)
FROM generate_series(1, %(rows)s) AS i JOIN product p ON p.product_id = 1 + (i * 17 %% %(products)s)"""


def create_retail(
    connection: Connection, *, products: int = 1_000, stores: int = 100, orders: int = 50_000
) -> bool:
    """Make and fill the sample's tables; return False, and change nothing, when they are there."""
    with connection.transaction():
        found = connection.execute("SELECT to_regclass('public.productorder')").fetchone()
        if found is not None and found[0] is not None:
            return False
        for statement in _CREATE.split(";"):
            connection.execute(statement)
        connection.execute(_FILL_PRODUCT, {"rows": products})
        connection.execute(_FILL_STORE, {"rows": stores})
        connection.execute(_FILL_ORDER, {"rows": orders, "stores": stores, "products": products})
    return True


@dataclass(slots=True)
class RetailWorkload:
    """Changes to the sample, one transaction a step; ``done`` counts what was changed, by kind."""

    seed: int = 7
    done: Counter[str] = field(default_factory=Counter)
    _random: Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = Random(self.seed)

    def step(self, connection: Connection) -> str:
        """Do one transaction and return what it was."""
        steps: list[tuple[int, Callable[[Connection], None]]] = [
            (40, self._order),
            (25, self._progress),
            (12, self._price),
            (10, self._withdraw),
            (6, self._renumber),
            (4, self._reopen),
            (3, self._move_store),
        ]
        (chosen,) = self._random.choices([one for _, one in steps], weights=[weight for weight, _ in steps])
        with connection.transaction():
            chosen(connection)
        kind = chosen.__name__.removeprefix("_")
        self.done[kind] += 1
        return kind

    def _order(self, connection: Connection) -> None:
        """Place some new orders in one transaction."""
        connection.execute(
            "INSERT INTO productorder"
            " SELECT (SELECT coalesce(max(order_id), 0) FROM productorder) + row_number() OVER (),"
            " product_id, %s, %s, price, 'new', NULL, clock_timestamp()"
            " FROM (SELECT * FROM product ORDER BY (product_id * %s) %% 1009 LIMIT %s) p",
            [
                self._random.randint(1, 100),
                self._random.randint(1, 5),
                self._random.randint(1, 1000),
                self._random.randint(1, 4),
            ],
        )

    def _progress(self, connection: Connection) -> None:
        """Pay and ship one order: two updates of one row in one transaction."""
        order = self._some_order(connection)
        for status in ("paid", self._random.choice(["shipped", "cancelled"])):
            connection.execute("UPDATE productorder SET status = %s WHERE order_id = %s", [status, order])

    def _price(self, connection: Connection) -> None:
        """Change a price."""
        connection.execute(
            "UPDATE product SET price = round(price * %s, 2), updated_at = clock_timestamp()"
            " WHERE product_id = (SELECT product_id FROM product ORDER BY (product_id * %s) %% 1009 LIMIT 1)",
            [str(self._random.choice(["0.95", "1.05", "1.10"])), self._random.randint(1, 1000)],
        )

    def _withdraw(self, connection: Connection) -> None:
        """Delete an order."""
        connection.execute("DELETE FROM productorder WHERE order_id = %s", [self._some_order(connection)])

    def _renumber(self, connection: Connection) -> None:
        """Give an order another number: its merge key changes."""
        connection.execute(
            "UPDATE productorder SET order_id = (SELECT max(order_id) + 1 FROM productorder)"
            " WHERE order_id = %s",
            [self._some_order(connection)],
        )

    def _reopen(self, connection: Connection) -> None:
        """Delete an order and insert it again, in one transaction."""
        order = self._some_order(connection)
        gone = connection.execute(
            "DELETE FROM productorder WHERE order_id = %s RETURNING *", [order]
        ).fetchone()
        if gone is not None:
            places = ", ".join(["%s"] * len(gone))
            connection.execute(f"INSERT INTO productorder VALUES ({places})", gone)
            connection.execute(
                "UPDATE productorder SET status = 'new', note = 'reopened' WHERE order_id = %s", [order]
            )

    def _move_store(self, connection: Connection) -> None:
        """Move a store to another city."""
        city = self._random.choice(["Oslo", "Rome", "Lyon", "Kyoto", "Lima", "Accra", "Perth"])
        connection.execute(
            "UPDATE store SET city = %s WHERE store_id = %s", [city, self._random.randint(1, 100)]
        )

    def _some_order(self, connection: Connection) -> int | None:
        row = connection.execute(
            "SELECT order_id FROM productorder WHERE order_id >="
            " (SELECT min(order_id) + floor((max(order_id) - min(order_id)) * %s) FROM productorder)"
            " ORDER BY order_id LIMIT 1",
            [self._random.random()],
        ).fetchone()
        return int(row[0]) if row else None


def run_workload(dsn: str, stopped: threading.Event, *, per_second: float = 2.0) -> RetailWorkload:
    """Change the sample gently until ``stopped`` is set; return what was done.

    Raises LocalServiceError when the database goes away before that.
    """
    import psycopg

    workload = RetailWorkload(seed=Random().randrange(2**32))
    try:
        with psycopg.connect(dsn, autocommit=True) as connection:
            while not stopped.wait(1 / per_second):
                workload.step(connection)
    except psycopg.Error as error:
        if not stopped.is_set():
            what = f"the workload lost its database: {redact(str(error).strip())}"
            raise LocalServiceError(what, where="workload", mend="start again: cdc up") from error
    return workload
