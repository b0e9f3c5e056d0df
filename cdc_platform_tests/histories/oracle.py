"""What a table must hold after some deliveries, in plain Python: the newest word on each key."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cdc_platform_tests.histories.records import Record
from cdc_platform_tests.histories.source import Row

Place = tuple[int, int]


@dataclass(frozen=True)
class Shown:
    """A row of the table: what it shows, and the position that protects it."""

    op: str
    place: Place
    row: Row
    #: Where its image comes from: below ``place`` for a row that is kept though deleted.
    image: Place


@dataclass(frozen=True)
class Word:
    """What one record says of one key."""

    place: Place
    deletes: bool
    op: str
    row: Row


@dataclass(frozen=True)
class Expected:
    """The rows a table must show, and those it may show: deleted, with some image of a superseded load."""

    rows: dict[int, Shown]
    optional: dict[int, list[Shown]]


def words_of(records: list[Record], generation: int) -> Iterable[tuple[int, Word]]:
    """Yield what the rows of one file say of which key."""
    row = 0
    while row < len(records):
        record = records[row]
        other = records[row + 1] if row + 1 < len(records) else None
        if record.pair is not None and other is not None and other.pair == record.pair:
            # Two rows changed places: both are there, as of the second update.
            for each in (record, other):
                assert each.key is not None
                yield each.key, Word((generation, other.sequence), False, "U", each.row or {})
            row += 2
            continue
        row += 1
        if record.key is None:
            continue
        place = (generation, record.sequence)
        yield record.key, Word(place, record.op == "D", record.op, record.row or {})
        if record.before is not None and record.before != record.key:
            yield record.before, Word(place, True, "D", {})


def expected(deliveries: Iterable[tuple[list[Record], int]], complete: int, *, soft: bool) -> Expected:
    """Return what the table shows after ``deliveries`` (rows of a file, and the generation it came as)."""
    words: dict[int, list[Word]] = {}
    for records, generation in deliveries:
        for key, word in words_of(records, generation):
            words.setdefault(key, []).append(word)
    rows: dict[int, Shown] = {}
    optional: dict[int, list[Shown]] = {}
    for key, said in words.items():
        newest = max(said, key=lambda word: (word.place, not word.deletes))
        images = [word for word in said if not word.deletes]
        if newest.place[0] < complete:
            continue
        if not newest.deletes:
            rows[key] = Shown(newest.op, newest.place, newest.row, newest.place)
        elif soft and images:
            image = max(images, key=lambda word: word.place)
            if image.place[0] >= complete:
                rows[key] = Shown("D", newest.place, image.row, image.place)
            else:
                optional[key] = [Shown("D", newest.place, word.row, word.place) for word in images]
    return Expected(rows, optional)
