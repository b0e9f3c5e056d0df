"""The retail sample: three tables in schema ``public``, seeded alike everywhere, and a workload on them.

``product`` (1,000 rows), ``store`` (100) and ``productorder`` (50,000). Nothing in it is random at run time:
the same seed on the same rows makes the same changes, so a run can be repeated and a test can count on it.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
from psycopg import sql

from cdc_platform.errors import SourceUnavailable
from cdc_platform.postgres_dsn import NotConnected, UnreadableDsn, open_connection, parts_of

PRODUCTS, STORES, ORDERS = 1_000, 100, 50_000
TABLES = ("product", "store", "productorder")
_FIRST_ORDER = datetime(2024, 1, 1, tzinfo=UTC)
_LIVE_FROM = datetime(2025, 1, 1, tzinfo=UTC)
_KEY_CHANGE_STEP = 1_000_000_000
_BATCH = 20


@dataclass(slots=True)
class WorkloadCount:
    """How many row changes of each kind a workload committed."""

    inserts: int = 0
    updates: int = 0
    deletes: int = 0
    key_changes: int = 0

    @property
    def total(self) -> int:
        """All row changes."""
        return self.inserts + self.updates + self.deletes + self.key_changes


def create_sample(dsn: str) -> bool:
    """Create and fill the sample's tables; return False, changing nothing, when they are there already.

    Raises SourceUnavailable when the database cannot be reached.
    """
    with _connect(dsn) as connection, connection.transaction():
        found = connection.execute("SELECT to_regclass('public.productorder') IS NOT NULL").fetchone()
        if found is not None and found[0]:
            return False
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.execute(_SEED_PRODUCTS, {"rows": PRODUCTS})
        connection.execute(_SEED_STORES, {"rows": STORES, "first": date(2015, 1, 1)})
        orders = {"rows": ORDERS, "products": PRODUCTS, "stores": STORES, "first": _FIRST_ORDER}
        connection.execute(_SEED_ORDERS, orders)
        return True


def run_workload(dsn: str, *, changes: int, seed: int = 0) -> WorkloadCount:
    """Commit ``changes`` row changes to the sample, in small transactions, and say what they were.

    About 45 % inserts, 40 % updates (orders, prices, stores), 12 % deletes and 3 % changes of a key; deleted
    orders sometimes come back. Deterministic in the seed and the rows found.
    """
    with _connect(dsn) as connection:
        workload = _Workload(connection, seed)
        while workload.count.total < changes:
            workload.commit(min(_BATCH, changes - workload.count.total))
        return workload.count


def run_gently(
    dsn: str, *, stopping: threading.Event, changes_per_second: float = 5.0, seed: int = 0
) -> WorkloadCount:
    """Commit changes at a gentle pace until ``stopping`` is set."""
    with _connect(dsn) as connection:
        workload = _Workload(connection, seed)
        size = max(1, min(_BATCH, round(changes_per_second)))
        while not stopping.wait(size / changes_per_second):
            workload.commit(size)
        return workload.count


def add_column(dsn: str, table: str, column: str, type_name: str, *, value: str, every: int = 10) -> int:
    """Add a column to a table and fill it, as text ``value``, in every ``every``-th row; return those rows.

    ``type_name`` is a PostgreSQL type (``numeric(5,2)``). The other rows keep NULL.
    """
    with _connect(dsn) as connection, connection.transaction():
        target, name = sql.Identifier("public", table), sql.Identifier(column)
        # the type's own name, as PostgreSQL reads it, so that nothing but a type can stand here
        row = connection.execute("SELECT format_type(to_regtype(%s), NULL)", (type_name,)).fetchone()
        if row is None or row[0] is None:
            raise ValueError(f"{type_name!r} is not a type of PostgreSQL")
        connection.execute(sql.SQL("ALTER TABLE {} ADD COLUMN {} {}").format(target, name, _type(type_name)))
        key = sql.Identifier(_key_of(table))
        change = sql.SQL("UPDATE {} SET {} = {} WHERE {} %% {} = 0").format(
            target, name, sql.Literal(value), key, sql.Literal(every)
        )
        return connection.execute(change, ()).rowcount


class _Workload:
    """Decides the next changes; knows the keys so that it never has to ask the database."""

    def __init__(self, connection: psycopg.Connection[Any], seed: int) -> None:
        self.count = WorkloadCount()
        self._connection = connection
        self._random = random.Random(seed)
        rows = connection.execute("SELECT order_id FROM public.productorder ORDER BY order_id").fetchall()
        self._orders: list[int] = [row[0] for row in rows]
        ordinary = [key for key in self._orders if key < _KEY_CHANGE_STEP]
        self._next = max(ordinary, default=0) + 1
        self._gone: list[int] = []

    def commit(self, changes: int) -> None:
        """Commit one transaction of that many row changes."""
        with self._connection.transaction(), self._connection.pipeline():
            for _ in range(changes):
                self._pick()()

    def _pick(self) -> Callable[[], None]:
        dice = self._random.random()
        if dice < 0.45 or len(self._orders) < 10:
            return self._insert
        if dice < 0.73:
            return self._update_order
        if dice < 0.82:
            return self._update_price
        if dice < 0.85:
            return self._update_store
        return self._delete if dice < 0.97 else self._change_key

    def _insert(self) -> None:
        if self._gone and self._random.random() < 0.1:
            order = self._gone.pop()
        else:
            order, self._next = self._next, self._next + 1
        self._orders.append(order)
        pick = self._random
        values = (
            order,
            pick.randint(1, PRODUCTS),
            pick.randint(1, STORES),
            pick.randint(1, 9),
            Decimal(pick.randint(100, 99_999)) / 100,
            "new",
            pick.choice((None, "gift", "call first", 'say "thanks", twice', "")),
            _LIVE_FROM + timedelta(seconds=order % 31_536_000),
        )
        self._connection.execute(
            "INSERT INTO public.productorder VALUES (%s, %s, %s, %s, %s, %s, %s, %s)", values
        )
        self.count.inserts += 1

    def _update_order(self) -> None:
        status = self._random.choice(("paid", "shipped", "delivered", "returned"))
        quantity = self._random.randint(1, 9)
        self._connection.execute(
            "UPDATE public.productorder SET status = %s, quantity = %s WHERE order_id = %s",
            (status, quantity, self._random.choice(self._orders)),
        )
        self.count.updates += 1

    def _update_price(self) -> None:
        price = Decimal(self._random.randint(100, 99_999)) / 100
        moment = _LIVE_FROM + timedelta(seconds=self.count.total)
        self._connection.execute(
            "UPDATE public.product SET price = %s, updated_at = %s WHERE product_id = %s",
            (price, moment, self._random.randint(1, PRODUCTS)),
        )
        self.count.updates += 1

    def _update_store(self) -> None:
        region = self._random.choice(("north", "south", "east", "west"))
        self._connection.execute(
            "UPDATE public.store SET region = %s WHERE store_id = %s",
            (region, self._random.randint(1, STORES)),
        )
        self.count.updates += 1

    def _delete(self) -> None:
        order = self._remove_order()
        self._gone.append(order)
        self._connection.execute("DELETE FROM public.productorder WHERE order_id = %s", (order,))
        self.count.deletes += 1

    def _change_key(self) -> None:
        order = self._remove_order()
        renamed = order + _KEY_CHANGE_STEP
        self._orders.append(renamed)
        self._connection.execute(
            "UPDATE public.productorder SET order_id = %s WHERE order_id = %s", (renamed, order)
        )
        self.count.key_changes += 1

    def _remove_order(self) -> int:
        place = self._random.randrange(len(self._orders))
        self._orders[place], self._orders[-1] = self._orders[-1], self._orders[place]
        return self._orders.pop()


def _connect(dsn: str) -> psycopg.Connection[Any]:
    try:
        return open_connection(parts_of(dsn), autocommit=True)
    except (NotConnected, UnreadableDsn) as fault:
        raise SourceUnavailable(
            f"the sample's database cannot be reached: {fault}", mend="start it: cdc local up"
        ) from None


def _key_of(table: str) -> str:
    return "order_id" if table == "productorder" else f"{table}_id"


def _type(type_name: str) -> sql.SQL:
    return sql.SQL(type_name)


_SCHEMA = (
    """CREATE TABLE public.product (
        product_id int PRIMARY KEY, name text NOT NULL, category text NOT NULL,
        price numeric(10,2) NOT NULL, active boolean NOT NULL, updated_at timestamptz NOT NULL)""",
    """CREATE TABLE public.store (
        store_id int PRIMARY KEY, name text NOT NULL, city text NOT NULL, region text NOT NULL,
        opened_on date NOT NULL)""",
    """CREATE TABLE public.productorder (
        order_id bigint PRIMARY KEY, product_id int NOT NULL, store_id int NOT NULL, quantity int NOT NULL,
        unit_price numeric(10,2) NOT NULL, status text NOT NULL, note text,
        ordered_at timestamptz NOT NULL)""",
)
_SEED_PRODUCTS = """
    INSERT INTO public.product
    SELECT i, (ARRAY['Oak','Steel','Linen','Glass','Wool','Copper'])[1 + i %% 6] || ' '
              || (ARRAY['chair','lamp','table','shelf','rug','vase','clock'])[1 + i %% 7] || ' ' || i,
           (ARRAY['furniture','lighting','textile','decoration'])[1 + i * 7 %% 4],
           5 + (i * 7919 %% 49500) / 100.0, i %% 17 <> 0,
           timestamptz '2024-01-01 00:00:00+00' + i * interval '1 minute'
    FROM generate_series(1, %(rows)s) AS i
"""
_SEED_STORES = """
    INSERT INTO public.store
    SELECT i, 'Store ' || i,
           (ARRAY['Lyon','Porto','Ghent','Turin','Graz','Malmö','Kraków','Bilbao'])[1 + i %% 8],
           (ARRAY['north','south','east','west'])[1 + i * 3 %% 4], %(first)s::date + i * 29
    FROM generate_series(1, %(rows)s) AS i
"""
_SEED_ORDERS = """
    INSERT INTO public.productorder
    SELECT i, 1 + i * 7919 %% %(products)s, 1 + i * 104729 %% %(stores)s, 1 + i * 31 %% 9,
           5 + (i * 15485863 %% 49500) / 100.0,
           (ARRAY['new','paid','shipped','delivered'])[1 + i * 13 %% 4],
           CASE WHEN i %% 5 = 0 THEN 'gift' WHEN i %% 7 = 0 THEN 'leave at "door", please' END,
           %(first)s::timestamptz + i * interval '631 seconds'
    FROM generate_series(1::bigint, %(rows)s) AS i
"""
