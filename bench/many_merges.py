"""Many small merges in a row, with maintenance on its default policy: does the table stay as quick as it was?

    python -m bench.many_merges                            1,000 merges of 1,000 changes into 1 million rows
    python -m bench.many_merges --merges 100 --rows 100000

Each merge is timed without the maintenance that follows it; what maintenance cost is told beside. At the end
the table is read as it is, then compacted wholly and read again. Besides the seconds of the clock those of
the processors are told, which other work on the machine does not stretch.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench.data import SOURCE, TABLE, arguments, data_set, make_changes, say
from bench.lake import BenchLake, checked
from bench.results import Results
from cdc_platform.config.maintenance import MaintenanceOptions
from cdc_platform.lake.health import table_health
from cdc_platform.lake.maintenance import Step, maintain
from cdc_platform.lake.read import scan
from cdc_platform.pipeline import Platform, merge_table, take_in

#: Merges whose median is compared, at the start and at the end.
_SPAN = 50
_READS = 5


@dataclass(frozen=True, slots=True)
class Merge:
    """Seconds of one merge, of the maintenance after it, and of the intake before it.

    ``cpu`` are the processors' seconds of a merge that no maintenance followed.
    """

    seconds: float
    cpu: float | None
    maintenance: float
    intake: float


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, merge, read, and print."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--merges", type=int, default=1_000, help="how many merges")
    parser.add_argument("--changes", type=int, default=1_000, help="changes of each")
    parser.set_defaults(rows=1_000_000)
    options = parser.parse_args(argv)
    # A lake of its own: expiry removes files, so the others' table could not be put back.
    lake = BenchLake(data_set(options.workdir, "bigint", options.rows), "many-merges", maintained=True)
    lake.remove()
    lake.remove_changes()
    lake.write_config()
    lake.load()
    try:
        platform = Platform.open(lake.config)
        merges = list(_merge(platform, lake, options.merges, options.changes))
        figures = {**_growth(merges), **_reading(platform), "merges": options.merges, "rows": options.rows}
        platform.lake.close()
    finally:
        lake.remove_changes()
        lake.remove()
    for name, value in figures.items():
        say(f"{name}: {value}")
    Results("many_merges").add(
        {"rows": options.rows, "merges": options.merges, "changes": options.changes}, figures
    )


def _merge(platform: Platform, lake: BenchLake, merges: int, changes: int) -> Iterator[Merge]:
    """Merge set after set; yield the seconds of the merge, of its maintenance, and of the intake."""
    for number in range(1, merges + 1):
        lake.place(make_changes(lake.data, changes, series=number))
        started = time.perf_counter()
        take_in(platform, SOURCE, full=False)
        taken, used = time.perf_counter(), time.process_time()
        result = checked(merge_table(platform, SOURCE, TABLE), changes)
        seconds, cpu = time.perf_counter() - taken, time.process_time() - used
        done = result.maintenance
        if done is not None and done.error:
            raise SystemExit(done.error)
        kept = done.seconds if done else 0.0
        if number % _SPAN == 0:
            say(f"{number}: merge {seconds - kept:.3f} s, intake {taken - started:.3f} s")
        yield Merge(seconds - kept, cpu if done is None else None, kept, taken - started)


def _growth(merges: Sequence[Merge]) -> dict[str, Any]:
    # the first few warm the process up
    span = min(_SPAN, max(1, len(merges) // 4))
    first, last = merges[5 : 5 + span], merges[-span:]
    start, end = (median(one.seconds for one in part) for part in (first, last))
    cpu = [median(one.cpu for one in part if one.cpu is not None) for part in (first, last)]
    kept = [one.maintenance for one in merges]
    return {
        "merge seconds at the start": round(start, 3),
        "merge seconds at the end": round(end, 3),
        "growth": round(end / start, 2),
        "processor seconds at the start": round(cpu[0], 3),
        "processor seconds at the end": round(cpu[1], 3),
        "growth of processor seconds": round(cpu[1] / cpu[0], 2),
        "maintenance seconds in all": round(sum(kept), 1),
        "merge seconds in all": round(sum(one.seconds for one in merges), 1),
        "intake seconds in all": round(sum(one.intake for one in merges), 1),
        "longest maintenance": round(max(kept), 2),
        "merges with maintenance": sum(seconds > 0 for seconds in kept),
    }


def _reading(platform: Platform) -> dict[str, Any]:
    table = platform.table(SOURCE, TABLE)
    health = table_health(platform.lake, SOURCE, table)
    as_it_is = _read(platform)
    eager = {"compaction": {"min_files": 2, "min_deleted_rows": 1, "delete_debt": 1e-9}}
    policy = MaintenanceOptions.model_validate(eager)
    done = maintain(platform.lake, SOURCE, table.model_copy(update={"maintenance": policy}), [Step.COMPACT])
    compacted = _read(platform)
    return {
        "scan processor seconds as it is": round(as_it_is, 3),
        "scan processor seconds freshly compacted": round(compacted, 3),
        "scan ratio": round(as_it_is / compacted, 2),
        "health": str(health),
        "seconds of a whole compaction": done.seconds if done else None,
    }


def _read(platform: Platform) -> float:
    """Return the processors' seconds of the best of some reads of the whole table."""
    seconds = []
    for _ in range(_READS):
        started = time.process_time()
        scan(platform.lake, SOURCE, TABLE).read_all()
        seconds.append(time.process_time() - started)
    return min(seconds)


if __name__ == "__main__":
    main()
