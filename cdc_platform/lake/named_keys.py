"""The keys that a row names by its own text, which no reader could type: an update names two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from cdc_platform.events import before_name
from cdc_platform.naming import safe_name

_safe_name = cache(safe_name)


def safe_texts(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values a raw file has in a row, by the names base gives their columns.

    >>> safe_texts({"Op": "U", "BI_Id": "7"})
    {'op': 'U', 'bi_id': '7'}
    """
    return {_safe_name(name): value for name, value in values.items()}


def named_keys(texts: Mapping[str, Any], names: Sequence[str], prefix: str | None) -> set[tuple[Any, ...]]:
    """Return the keys (columns ``names``) of a row: its own, and by its before image the one it had.

    ``prefix`` is that of before images in the file. A key with a NULL is none.

    >>> named_keys({"shop": "1", "id": None, "bi_id": "7"}, ["shop", "id"], "BI_")
    {('1', '7')}
    """
    before = [
        (*([safe_name(prefix + name)] if prefix else []), safe_name(before_name(name))) for name in names
    ]
    own = [texts.get(name) for name in names]
    told = [next((texts[one] for one in some if texts.get(one) is not None), None) for some in before]
    # a key column the before image leaves out did not change
    old = [now if then is None else then for now, then in zip(own, told, strict=True)]
    return {tuple(side) for side in (own, old) if None not in side}
