"""Arrow's allocator is ours to choose only where nobody else has."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import pyarrow as pa
from cdc_platform.lake.allocator import choose_allocator
choose_allocator()
print(pa.default_memory_pool().backend_name)
"""


@pytest.mark.parametrize(("chosen", "expected"), [("", "jemalloc"), ("system", "system")])
def test_jemalloc_is_used_unless_another_was_chosen(chosen: str, expected: str) -> None:
    environment = {**os.environ, "ARROW_DEFAULT_MEMORY_POOL": chosen}
    run = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True)
    assert expected == run.stdout.strip(), run.stderr
