"""Random pairs of tables with up to five edits, compared in full and judged by a plain oracle.

    python -m bench.pairs                      100,000 pairs
    python -m bench.pairs --resume             go on where the last run was stopped
    python -m bench.pairs --pairs 1000 --seed 7

Of 125 packets 114 of 400 pairs are compared as exports in Parquet with Iceberg tables, seven of 200 with a
table of a real PostgreSQL, two of 40 by ranges of keys (in memory, and of PostgreSQL), and the 100 pairs of
two are each a table and a comparison of their own: in memory, and as files whose rows lie in one order. In
every second packet segments that differ are read a second time; in the others their pairs of key and digest
were kept. In a packet each pair is ranges of keys with verdicts of their own; it is the product that plans,
digests, drills, looks up and judges. One thing is set otherwise: every segment that differs is drilled, where
a fault in every second one is called systemic and sampled.

It ends with a failure at the first verdict that is wrong, and says with which packet to see it again.
What a run has counted when it is stopped is kept as its result.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import duckdb

from bench.results import Results, commit
from cdc_platform.config.model import LakeConfig, PlatformConfig
from cdc_platform.lake.read import open_workspace
from cdc_platform.local.postgres import EmbeddedPostgres
from cdc_platform.pipeline import Platform
from cdc_platform.reconcile import drill, scan
from cdc_platform.reconcile.full_result import FullComparison
from cdc_platform_tests.reconcile.aligned_files import FilesPlace, aligned_pair, drawn_groups
from cdc_platform_tests.reconcile.packets import faults_of as faults_of_packet
from cdc_platform_tests.reconcile.packets import pair_verdicts, random_packet
from cdc_platform_tests.reconcile.pair_places import ExportPlace, MemoryPlace, Place, PostgresPlace
from cdc_platform_tests.reconcile.pairs import Pair, compare_pair, fault_of, random_pair

_ROUND = 125
_KINDS = {
    **dict.fromkeys(range(7, _ROUND, 17), "postgres"),
    31: "single tables",
    46: "files in one order",
    61: "ranges",
    91: "postgres by ranges",
}
_PAIRS = {
    "export": 400,
    "postgres": 200,
    "single tables": 100,
    "files in one order": 100,
    "ranges": 40,
    "postgres by ranges": 40,
}
_TOLD_EVERY = 5
_MOST_KEPT = scan.MOST_KEPT


def kind_of(number: int) -> str:
    """Return how a packet is compared."""
    return _KINDS.get(number % _ROUND, "export")


class Comparer:
    """Where packets are compared, each kind in its place."""

    def __init__(
        self, folder: Path, seed: int, platform: Platform, connection: duckdb.DuckDBPyConnection, dsn: str
    ) -> None:
        self._seed, self._connection = seed, connection
        self._files = FilesPlace(folder, platform.lake, connection)
        self._alone = {"single tables": self._of_memory, "files in one order": self._of_files}
        self._places: dict[str, Place] = {
            "export": ExportPlace(folder, platform.lake, connection),
            "postgres": PostgresPlace(dsn, connection),
            "postgres by ranges": PostgresPlace(dsn, connection, has_key=True),
            "ranges": MemoryPlace(connection, ranged=True),
        }

    def compare(self, number: int, pairs: int) -> Counter[str]:
        """Compare a packet of so many pairs and count their verdicts; SystemExit for one that is wrong."""
        kind = kind_of(number)
        scan.MOST_KEPT = _MOST_KEPT * (number % 2)
        if (compared := self._alone.get(kind)) is not None:
            return self._single_tables(number, pairs, compared)
        packet = random_packet(Random(f"{self._seed}/{number}"), pairs)
        packet, found = self._places[kind].compare(packet)
        if faults := faults_of_packet(packet, found):
            self._wrong(number, faults[0])
        return Counter(one.value for one in pair_verdicts(packet, found))

    def _single_tables(
        self, number: int, pairs: int, compared: Callable[[Random], tuple[Pair, FullComparison]]
    ) -> Counter[str]:
        verdicts: Counter[str] = Counter()
        for place in range(pairs):
            pair, found = compared(Random(f"{self._seed}/{number}/{place}"))
            if fault := fault_of(pair, found):
                self._wrong(number, f"table {place}: {fault}")
            verdicts[found.verdict.value] += 1
        return verdicts

    def _of_memory(self, random: Random) -> tuple[Pair, FullComparison]:
        pair = random_pair(random)
        size, ranged = random.choice([1, 5, 1000]), random.random() < 0.5
        return pair, compare_pair(self._connection, pair, rows_per_segment=size, ranged=ranged)

    def _of_files(self, random: Random) -> tuple[Pair, FullComparison]:
        pair = aligned_pair(random)
        return pair, self._files.compare(pair, drawn_groups(random))

    def _wrong(self, number: int, fault: str) -> None:
        raise SystemExit(f"packet {number} of seed {self._seed} ({kind_of(number)}): {fault}")


@contextmanager
def comparing(folder: Path, seed: int) -> Iterator[Comparer]:
    """Open a lake, a PostgreSQL and an engine to compare in."""
    config = PlatformConfig(base_folder=folder, lake=LakeConfig(warehouse="warehouse"), sources={})
    platform = Platform(config)
    with EmbeddedPostgres(folder / "server", durable=False) as server:
        dsn = server.create_database("pairs")
        connection = open_workspace(platform.lake, iceberg=True)
        connection.execute("SET threads = 1")
        try:
            yield Comparer(folder, seed, platform, connection, dsn)
        finally:
            connection.close()
            platform.lake.close()


class Tally:
    """What was counted, kept in a file so that a stopped run can go on."""

    def __init__(self, path: Path, seed: int, pairs: int, *, resume: bool) -> None:
        self._path, self._of = path, {"seed": seed, "pairs": pairs, "commit": commit()}
        there = json.loads(path.read_text()) if resume and path.exists() else {}
        same = there.get("of") == self._of
        self.packets: int = there["packets"] if same else 0
        self.seconds: float = there["seconds"] if same else 0.0
        self.counts: dict[str, Counter[str]] = {
            kind: Counter(found) for kind, found in (there["counts"] if same else {}).items()
        }

    @property
    def pairs(self) -> int:
        """How many pairs were judged."""
        return sum(found.total() for found in self.counts.values())

    def add(self, kind: str, found: Counter[str], seconds: float) -> None:
        self.packets += 1
        self.seconds += seconds
        self.counts.setdefault(kind, Counter()).update(found)
        self.save()

    def save(self) -> None:
        value = {"of": self._of, "packets": self.packets, "seconds": self.seconds, "counts": self.counts}
        self._path.write_text(json.dumps(value))

    def measured(self) -> dict[str, Any]:
        """Return the counts as a result: the run would have ended at the first wrong verdict."""
        every = sum(self.counts.values(), Counter[str]())
        return {
            "pairs": self.pairs,
            "false_match": 0,
            "false_different": 0,
            "verdicts": dict(every),
            "by_path": {kind: dict(found) for kind, found in sorted(self.counts.items())},
            "seconds": round(self.seconds, 1),
        }


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, compare the pairs and keep what was counted."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--resume", action="store_true", help="go on where a run of the same code stopped")
    chosen = parser.parse_args(argv)
    asked_to_end: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked_to_end.append(number))
    tally = Tally(
        Path(tempfile.gettempdir()) / f"cdc-pairs-{chosen.seed}.json",
        chosen.seed,
        chosen.pairs,
        resume=chosen.resume,
    )
    drill.SYSTEMIC_SHARE = 1.0
    folder = Path(tempfile.mkdtemp(prefix="cdc-pairs-"))
    try:
        with comparing(folder, chosen.seed) as comparer:
            while (left := chosen.pairs - tally.pairs) and not asked_to_end:
                started, number = time.perf_counter(), tally.packets
                found = comparer.compare(number, min(_PAIRS[kind_of(number)], left))
                tally.add(kind_of(number), found, time.perf_counter() - started)
                if tally.packets % _TOLD_EVERY == 0:
                    done = tally.measured()
                    print(f"{done['pairs']:,} pairs judged right in {done['seconds']:,} s", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    Results("pairs").add({"seed": chosen.seed, "of": chosen.pairs}, tally.measured())
    print(tally.measured())


if __name__ == "__main__":
    main()
