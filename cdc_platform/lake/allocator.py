"""Which allocator Arrow's memory comes from.

A merge takes and frees hundreds of megabytes within seconds. Arrow's own choice, mimalloc, gives freed pages
back at once and takes others, each of which the kernel (on a virtual machine, the host) has to find and clear
again; jemalloc keeps them for a while, which makes a merge of a million changes a tenth quicker, and smaller.
"""

from __future__ import annotations

import os
from functools import cache

import pyarrow as pa


@cache
def choose_allocator() -> None:
    """Let Arrow use jemalloc from now on, where this build has it and nobody chose otherwise.

    ``ARROW_DEFAULT_MEMORY_POOL`` is Arrow's own way to choose.
    """
    if not os.environ.get("ARROW_DEFAULT_MEMORY_POOL") and "jemalloc" in pa.supported_memory_backends():
        pa.set_memory_pool(pa.jemalloc_memory_pool())
