"""What happens in the demo's database: ordinary business, and the cases that break copies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]


def renumber_and_swap(connection: Connection) -> None:
    """Change merge keys: give ten orders new numbers, and let two orders swap theirs in one transaction."""
    with connection.transaction():
        connection.execute(
            "UPDATE productorder SET order_id = order_id + 1000000 WHERE order_id BETWEEN 1001 AND 1010"
        )
    with connection.transaction():
        for old, new in ((2001, -1), (2002, 2001), (-1, 2002)):
            connection.execute("UPDATE productorder SET order_id = %s WHERE order_id = %s", [new, old])


def delete_and_return(connection: Connection) -> None:
    """Delete orders; let some of them come back with other contents."""
    connection.execute("DELETE FROM productorder WHERE order_id BETWEEN 3001 AND 3100")
    connection.execute(
        "INSERT INTO productorder SELECT i, 1 + i % 1000, 1 + i % 100, 9, 9.99, 'new', 'came back', now()"
        " FROM generate_series(3001, 3020) AS i"
    )


def mark(connection: Connection, note: str, first: int, last: int) -> None:
    """Write ``note`` into a range of orders, in one transaction."""
    connection.execute(
        "UPDATE productorder SET note = %s WHERE order_id BETWEEN %s AND %s", [note, first, last]
    )
