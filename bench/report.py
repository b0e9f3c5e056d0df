"""The result tables of docs/performance.md, made from bench/results/*.json.

    python -m bench.report            # write them into the page
    python -m bench.report --print    # show them

A table stands between ``<!-- results: name -->`` and ``<!-- end -->``; what is around it stays. Ratios are
told between measurements of one run; one that was measured in another run is marked.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.results import FOLDER, Entry

PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
_BLOCK = re.compile(r"(<!-- results: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_OTHERS = ("limit", "delta-rs", "spark", "upsert", "rewrite")
_KEYS = {"bigint": "bigint", "uuid": "UUID text", "pair": "two columns"}
_TITLES = {"delta-rs": "delta-rs", "spark": "Spark MERGE", "upsert": "pyiceberg upsert", "rewrite": "rewrite"}
_GIB = 2**30


def main(argv: Sequence[str] | None = None) -> None:
    """Write the tables into the page, or show them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--print", action="store_true", help="show the tables, write nothing")
    parser.add_argument("--results", type=Path, default=FOLDER, help="folder of the results")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page to write into")
    options = parser.parse_args(argv)
    tables = {name: text for name in TABLES if (text := table(name, options.results))}
    if options.print:
        print("\n".join(tables.values()))
        return
    page = options.page.read_text()
    options.page.write_text(_BLOCK.sub(lambda block: _filled(block, tables), page))


def table(name: str, folder: Path) -> str | None:
    """Return one result as markdown, None when it was never measured."""
    path = folder / f"{name}.json"
    if not path.exists():
        return None
    content = json.loads(path.read_text())
    return f"{_machine(content)}\n\n{TABLES[name](content['entries'])}\n"


def _filled(block: re.Match[str], tables: Mapping[str, str]) -> str:
    text = tables.get(block[2])
    return block[0] if text is None else f"{block[1]}{text}{block[3]}"


def _machine(content: Mapping[str, Any]) -> str:
    machine = dict(content["machine"])
    entries = content["entries"]
    runs = sorted({entry["run"] for entry in entries})
    commits = sorted({entry["commit"] for entry in entries})
    loads = [entry["load_average"] for entry in entries]
    hardware = f"{machine.pop('cores')} cores ({machine.pop('cpu')}), {machine.pop('memory_gib')} GiB"
    versions = ", ".join(f"{name} {version}" for name, version in machine.items())
    return (
        f"Run {', '.join(runs)} on commit {', '.join(commits)}; {hardware}; {versions}. "
        f"Load average while measuring: {min(loads)} to {max(loads)} (a quiet machine: below 2)."
    )


def _merge_speed(entries: Sequence[Entry]) -> str:
    present = [name for name in _OTHERS if any(entry["competitor"] == name for entry in entries)]
    titles = ["the limit" if name == "limit" else _TITLES[name] for name in present]
    lines = [_row(["key", "changes", "product", "cold", *titles]), _row(["---"] * (4 + len(present)))]
    cells = {(one["key"], one["changes"], one["competitor"]): one for one in entries}
    order = sorted({(list(_KEYS).index(key), changes) for key, changes, _ in cells})
    for number, changes in order:
        key = list(_KEYS)[number]
        product = cells.get((key, changes, "product"))
        others = [against(product, cells.get((key, changes, name)), name) for name in present]
        cold = _seconds(product["cold"]) if product and product.get("cold") is not None else ""
        lines.append(_row([_KEYS[key], f"{changes:,}", _time(product), cold, *others]))
    return "\n".join(lines)


def against(product: Entry | None, other: Entry | None, name: str) -> str:
    """Return a time with its ratio: how often the product fits into it, or it into the product."""
    if other is None:
        return ""
    if product is None or not {"seconds"} <= product.keys() & other.keys():
        return _time(other)
    parts = (product["seconds"], other["seconds"])
    ratio = parts[0] / parts[1] if name == "limit" else parts[1] / parts[0]
    mark = "" if product["run"] == other["run"] else " (another run)"
    return f"{_time(other)} · **{ratio:.1f}×**{mark}"


def _full_load(entries: Sequence[Entry]) -> str:
    others = {"pyarrow": "pyarrow (goal 1.3×)", "pyarrow-threads": "pyarrow, a thread per file"}
    lines = [_row(["rows", "key", "product", *others.values()]), _row(["---"] * (3 + len(others)))]
    for rows, key in sorted({(entry["rows"], entry["key"]) for entry in entries}):
        mine = {one["competitor"]: one for one in entries if (one["rows"], one["key"]) == (rows, key)}
        product = mine.get("product")
        told = [f"{_time(mine.get(name))} · {_ratio(product, mine.get(name))}".strip(" ·") for name in others]
        lines.append(_row([f"{rows:,}", _KEYS[key], _time(product), *told]))
    return "\n".join(lines)


def _growth(entries: Sequence[Entry]) -> str:
    lines = [_row(["case", "changes", "rows", "warm", "cold", "growth", "goal"]), _row(["---"] * 7)]
    goals = {"recent": "1.5×", "uuid": "2×"}
    for case, changes in sorted({(entry["case"], entry["changes"]) for entry in entries}):
        mine = [one for one in entries if (one["case"], one["changes"]) == (case, changes)]
        mine.sort(key=lambda one: one["rows"])
        for entry in mine:
            ratio = "" if entry is mine[0] else _ratio(entry, mine[0])
            cold = _seconds(entry["cold"]) if entry.get("cold") is not None else ""
            row = [case, f"{changes:,}", f"{entry['rows']:,}", _time(entry), cold, ratio, goals[case]]
            lines.append(_row(row))
    return "\n".join(lines)


def _memory(entries: Sequence[Entry]) -> str:
    heads = ["what", "rows", "changes", "memory_limit", "peak resident", "of it anonymous", "seconds"]
    lines = [_row(heads), _row(["---"] * len(heads))]
    for entry in sorted(entries, key=lambda one: (one["changes"], one["rows"])):
        what = "merge" if entry["changes"] else "full load"
        changes, limit = f"{entry['changes'] or '':,}" if entry["changes"] else "", entry["memory_limit"]
        resident = f"{entry['peak_rss'] / _GIB:.2f} GiB" if "peak_rss" in entry else ""
        anonymous = f"{entry['peak_anonymous'] / _GIB:.2f} GiB"
        row = [what, f"{entry['rows']:,}", changes, limit or "default", resident, anonymous, _time(entry)]
        lines.append(_row(row))
    return "\n".join(lines)


def _read_speed(entries: Sequence[Entry]) -> str:
    others = {
        "ours by SQL": "our own by SQL",
        "pyiceberg": "pyiceberg (goal 3×)",
        "iceberg_scan": "DuckDB iceberg_scan",
    }
    heads = ["rows", "deleted", "read", "our own", *others.values()]
    lines = [_row(heads), _row(["---"] * len(heads))]
    order = sorted({(e["rows"], e["deleted"]) for e in entries})
    for rows, deleted in order:
        table = [e for e in entries if (e["rows"], e["deleted"]) == (rows, deleted)]
        for read in dict.fromkeys(e["read"] for e in table):
            by_name = {e["competitor"]: e for e in table if e["read"] == read}
            mine = by_name.get("ours")
            told = [_both_ways(mine, by_name.get(name)) for name in others]
            lines.append(_row([f"{rows:,}", f"{deleted:,}", read, _both_ways(None, mine), *told]))
    return "\n".join(lines)


def _both_ways(mine: Entry | None, other: Entry | None) -> str:
    """Return a read's seconds of the clock and of the processors, and how often mine fits into each."""
    if other is None:
        return ""
    seconds = [other[name] for name in ("seconds", "processor_seconds")]
    text = f"{_short(seconds[0])} ({_short(seconds[1])})"
    if mine is None:
        return text
    ratios = [
        value / mine[name] for value, name in zip(seconds, ("seconds", "processor_seconds"), strict=True)
    ]
    mark = "" if mine["run"] == other["run"] else " (another run)"
    return f"{text} · **{ratios[0]:.1f}×** ({ratios[1]:.1f}×){mark}"


def _short(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else _seconds(seconds)


def _many_merges(entries: Sequence[Entry]) -> str:
    heads = ["rows", "merges", "a merge at the start", "at the end", "growth (goal 1.2×)"]
    heads += ["processor seconds", "maintenance per merge", "share", "scan, to freshly compacted (goal 1.2×)"]
    lines = [_row(heads), _row(["---"] * len(heads))]
    for one in sorted(entries, key=lambda one: (one["merges"], one["rows"])):
        used = [one[f"processor seconds at the {end}"] for end in ("start", "end")]
        kept = one["maintenance seconds in all"]
        row = [f"{one['rows']:,}", f"{one['merges']:,}"]
        row += [f"{one[f'merge seconds at the {end}']:.3f} s" for end in ("start", "end")]
        row += [f"**{one['growth']:.2f}×**"]
        row += [f"{used[0]:.3f} → {used[1]:.3f} s · **{one['growth of processor seconds']:.2f}×**"]
        row += [f"{kept / one['merges']:.3f} s", f"{kept / (kept + one['merge seconds in all']):.0%}"]
        lines.append(_row([*row, f"**{one['scan ratio']:.2f}×**"]))
    return "\n".join(lines)


def _thousand_tables(entries: Sequence[Entry]) -> str:
    parts = ["first load", "one new file each", "nothing new"]
    heads = ["tables", *(f"{part}{' (goal 60 s)' if part == parts[1] else ''}" for part in parts)]
    lines = [_row(heads), _row(["---"] * len(heads))]
    for one in sorted(entries, key=lambda one: int(one["tables"])):
        told = [f"{one[part]['wall_s']:.1f} s ({one[part]['cpu_s']:.1f} s of processors)" for part in parts]
        lines.append(_row([f"{one['tables']:,}", *told]))
    return "\n".join(lines)


def _ratio(entry: Entry | None, base: Entry | None) -> str:
    if entry is None or base is None or not {"seconds"} <= entry.keys() & base.keys():
        return ""
    mark = "" if entry["run"] == base["run"] else " (another run)"
    return f"**{entry['seconds'] / base['seconds']:.2f}×**{mark}"


def _time(entry: Entry | None) -> str:
    if entry is None:
        return ""
    return f"failed: {entry['failure'][:60]}" if "failure" in entry else _seconds(entry["seconds"])


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


TABLES: Mapping[str, Callable[[Sequence[Entry]], str]] = {
    "merge_speed": _merge_speed,
    "full_load": _full_load,
    "growth": _growth,
    "memory": _memory,
    "read_speed": _read_speed,
    "many_merges": _many_merges,
    "thousand_tables": _thousand_tables,
}


if __name__ == "__main__":
    main()
