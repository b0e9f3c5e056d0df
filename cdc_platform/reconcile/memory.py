"""How the one setting (``engine.memory_limit``) is divided while a whole table is compared.

What a process holds that does nothing yet, what its threads hold beside the engine's own count, and the
hashes of keys (see :mod:`doubled_keys`) come first; the engine gets the rest, and spills what is beyond it.
"""

from __future__ import annotations

from dataclasses import dataclass

from cdc_platform.config.model import LEAST_MEMORY, EngineConfig, bytes_of
from cdc_platform.errors import ConfigError

_MB = 1_000_000
#: What ``cdc reconcile`` holds before it reads a row: interpreter and libraries. Measured: 215 MiB.
_PROCESS = 230 * _MB
#: What a thread of the engine holds that its limit does not count: decoded pages, rows on their way to Arrow.
_THREAD = 20 * _MB
#: One of so many parts of the setting is for hashes.
_HASHES_PART = 16
_HASH_BYTES = 8
_ENGINE_SHARE = 0.6


@dataclass(frozen=True, slots=True)
class MemoryShares:
    """Bytes the engine may take, and how many hashes of keys are held at once."""

    engine: int
    hashes_at_once: int


def memory_shares(config: EngineConfig) -> MemoryShares:
    """Divide the setting. Raises ConfigError, with the least that will do, where it is too small.

    >>> memory_shares(EngineConfig(memory_limit="512MB", threads=2))
    MemoryShares(engine=210000000, hashes_at_once=4000000)
    """
    limit, taken = bytes_of(config.memory_limit), _PROCESS + config.threads * _THREAD
    hashes = limit // _HASHES_PART
    engine = min(int(limit * _ENGINE_SHARE), limit - taken - hashes)
    if engine < LEAST_MEMORY:
        least = -(-(taken + LEAST_MEMORY) * _HASHES_PART // ((_HASHES_PART - 1) * _MB))
        what = f"{config.memory_limit} is too small to compare a whole table with {config.threads} threads"
        raise ConfigError("cdc.yaml", [("engine.memory_limit", what, f"give it {least}MB at least")])
    return MemoryShares(engine, hashes // _HASH_BYTES)
