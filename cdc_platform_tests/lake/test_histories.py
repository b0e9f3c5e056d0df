from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cdc_platform.config.model import TableConfig
from cdc_platform.events import PositionKind
from cdc_platform.lake.catalog import Lake, open_lake
from cdc_platform.lake.merge import MergeInput
from cdc_platform.raw.files import FileKind
from cdc_platform_tests.lake.conftest import Bench, lake_config
from cdc_platform_tests.lake.histories import History, delivered_files, random_groups, random_history

#: More for a soak: CDC_HYPOTHESIS_EXAMPLES=2000 pytest cdc_platform_tests/lake/test_histories.py
EXAMPLES = int(os.environ.get("CDC_HYPOTHESIS_EXAMPLES", "12"))

_soak = settings(
    max_examples=EXAMPLES,
    deadline=None,
    # A smaller seed is no smaller history: shrinking would only take time.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    derandomize="CDC_HYPOTHESIS_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
_names = itertools.count()


@pytest.fixture(scope="module")
def lake() -> Iterator[Lake]:
    with (
        tempfile.TemporaryDirectory(prefix="cdc-histories-") as folder,
        open_lake(lake_config(Path(folder))) as lake,
    ):
        yield lake


def complete_generation(seen: set[str], files: list[MergeInput]) -> int | None:
    """Return the newest generation all load files of which were given so far."""
    loads: dict[int, set[str]] = {}
    for file in files:
        if file.accepted.kind == FileKind.LOAD:
            loads.setdefault(file.accepted.generation, set()).add(file.accepted.file.key)
    return max((generation for generation, keys in loads.items() if keys <= seen), default=None)


def base_after(
    lake: Lake, random: Random, history: History, kind: PositionKind
) -> dict[int, tuple[object, ...]]:
    """Deliver a history and return the base table as a dict."""
    partition_by = random.choice(((), ("v",), ("bucket(2, id)", "w")))
    table = TableConfig(
        name="public.item", id=f"item{next(_names)}", merge_key=("id",), partition_by=partition_by
    )
    bench = Bench(lake, table)
    files = delivered_files(random, history, kind)
    seen: set[str] = set()
    for group in random_groups(random, files):
        seen |= {file.accepted.file.key for file in group}
        bench.merge(*group, completed=complete_generation(seen, files) if random.random() < 0.7 else None)
    bench.merge(*files, completed=history.generation or None)
    rows = bench.rows("id", "v", "w")
    assert len(rows) == len({row[0] for row in rows}), "a key has two rows"
    return {key: (v, w) for key, v, w in rows}


@pytest.mark.parametrize("kind", [PositionKind.CHANGE_SEQUENCE, PositionKind.COMMIT_TIME])
@_soak
@given(seed=st.integers(min_value=0, max_value=2**32))
def test_any_order_and_repetition_of_files_gives_the_source_table(
    lake: Lake, kind: PositionKind, seed: int
) -> None:
    random = Random(seed)
    history = random_history(random)
    if not history.transactions and not history.loads:
        return

    assert history.rows == base_after(lake, random, history, kind)
