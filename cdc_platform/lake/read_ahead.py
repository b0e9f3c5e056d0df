"""Producing the next batches while the last ones are being worked on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

_END = object()


def read_ahead(items: Iterable[Item], depth: int = 4) -> Iterator[Item]:
    """Yield ``items``, which a thread of its own produces up to ``depth`` of in advance.

    What the producer raises is raised here. A consumer that stops early stops the producer too.
    """
    ready: queue.Queue[object] = queue.Queue(depth)
    stopped = threading.Event()
    failure: list[BaseException] = []

    def offer(item: object) -> None:
        while not stopped.is_set():
            try:
                return ready.put(item, timeout=0.1)
            except queue.Full:
                continue

    def produce() -> None:
        try:
            for item in items:
                offer(item)
                if stopped.is_set():
                    return
        except BaseException as error:
            failure.append(error)
        offer(_END)

    thread = threading.Thread(target=produce, name="read-ahead", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not _END:
            yield item  # type: ignore[misc]  # the queue holds items and the end
    finally:
        stopped.set()
        thread.join()
    if failure:
        raise failure[0]


def telling_end(items: Iterable[Item], end: threading.Event) -> Iterator[Item]:
    """Yield ``items``, and set ``end`` after the last."""
    yield from items
    end.set()


def after(event: threading.Event, work: Callable[[], Item]) -> Item:
    """Wait for ``event``, then return what ``work`` does."""
    event.wait()
    return work()
