"""Random histories of a real PostgreSQL table, through the local DMS, into base: equal to a plain dict."""

from __future__ import annotations

import os
import shutil
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cdc_platform.local.postgres import EmbeddedPostgres
from cdc_platform.pipeline import complete_load
from cdc_platform_tests.local.task_bench import TaskBench
from cdc_platform_tests.pipeline.workbench import SOURCE, Workbench

pytestmark = pytest.mark.postgres

EXAMPLES = int(os.environ.get("CDC_POSTGRES_HISTORIES", "6"))
TABLE = {"name": "public.thing", "merge_key": ["id"]}


class Life:
    """What happens to the table at the source, done to a dict as well."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.rows: dict[int, str | None] = {}

    def transaction(self) -> str:
        """Return the statements of one transaction."""
        return "; ".join(self._act() for _ in range(self.random.choice((1, 1, 2, 3))))

    def _act(self) -> str:
        free = [key for key in range(8) if key not in self.rows]
        what = self.random.choice(("insert", "update", "update", "delete", "move", "swap", "reinsert"))
        if not self.rows or (what == "insert" and free):
            return self._insert(self.random.choice(free))
        key = self.random.choice(sorted(self.rows))
        if what == "delete":
            del self.rows[key]
            return f"delete from thing where id = {key}"
        if what == "reinsert":
            return f"delete from thing where id = {key}; " + self._insert(key)
        if what == "move" and free:
            return self._move(key, self.random.choice(free))
        if what == "swap" and len(self.rows) > 1:
            other = self.random.choice([one for one in sorted(self.rows) if one != key])
            return "; ".join((self._move(key, 900), self._move(other, key), self._move(900, other)))
        self.rows[key] = self._text()
        return f"update thing set v = {_literal(self.rows[key])} where id = {key}"

    def _insert(self, key: int) -> str:
        self.rows[key] = self._text()
        return f"insert into thing values ({key}, {_literal(self.rows[key])})"

    def _move(self, old: int, new: int) -> str:
        self.rows[new] = self.rows.pop(old)
        return f"update thing set id = {new} where id = {old}"

    def _text(self) -> str | None:
        return self.random.choice((None, "", "a", "b", "zürich"))


def _literal(text: str | None) -> str:
    return "null" if text is None else f"'{text}'"


def _live(bench: TaskBench, life: Life) -> None:
    """Load the table, then change it, cutting files and loading it again at random."""
    bench.execute("create table thing (id bigint primary key, v text)")
    for _ in range(life.random.randint(0, 3)):
        bench.execute(life.transaction())
    bench.start()
    bench.wait_for_load()
    for _ in range(life.random.randint(1, 12)):
        bench.execute(life.transaction())
        cut = life.random.random()
        if cut < 0.3:
            bench.catch_up()
        elif cut < 0.36 and bench.run is not None:
            bench.run.reload_tables([("public", "thing")])
    bench.catch_up()
    bench.stop()


def _deliver(bench: TaskBench, workbench: Workbench, random: Random) -> None:
    """Copy the files over in any order, some of them twice, and merge now and then."""
    files = [*bench.files("thing")]
    copies = [(path, _name(path, again=False)) for path in files]
    copies += [
        (p, _name(p, again=True)) for p in files if not p.name.startswith("LOAD") and random.random() < 0.4
    ]
    random.shuffle(copies)
    folder = workbench.raw / "public" / "thing"
    folder.mkdir(parents=True)
    for path, name in copies:
        shutil.copy2(path, folder / name)
        if random.random() < 0.5:
            workbench.apply("thing")
    workbench.apply("thing")
    if workbench.platform.load_sets(SOURCE, "thing").newest() is not None:
        # as DMS's statistics would: no change may have followed the last load
        complete_load(workbench.platform, SOURCE, "thing")
        workbench.apply("thing")


def _name(path: Path, *, again: bool) -> str:
    """Return the name a file is delivered by; the second time a moment later, as a task writes it again."""
    if not again:
        return path.name
    moment = datetime.strptime(path.name[:18], "%Y%m%d-%H%M%S%f") + timedelta(milliseconds=1)
    return f"{moment:%Y%m%d-%H%M%S}{moment.microsecond // 1000:03d}{path.suffix}"


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
    database=None,
)
@given(seed=st.integers(0, 2**32))
def test_base_equals_the_source_after_any_history_delivered_in_any_order(
    postgres_server: EmbeddedPostgres, seed: int
) -> None:
    random = Random(seed)
    life = Life(random)
    folder = Path(tempfile.mkdtemp(prefix="cdc-history-"))
    bench = TaskBench(postgres_server.create_database(f"history_{seed}_{folder.name[12:]}".lower()), folder)
    try:
        _live(bench, life)
        workbench = Workbench(folder, TABLE)
        _deliver(bench, workbench, random)

        expected = {key: {"id": key, "v": text} for key, text in life.rows.items()}
        actual = workbench.by_key("thing", "id") if bench.files("thing") else {}
    finally:
        bench.engine.forget(bench.spec)
        shutil.rmtree(folder, ignore_errors=True)

    assert expected == actual
