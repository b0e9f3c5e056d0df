"""Random small windows against a plain-Python oracle: no false MATCH, no false DIFFERENT."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cdc_platform.reconcile.verdict import Verdict
from cdc_platform_tests.reconcile.witnesses import Case, event, row

CASE = Case({"id": pa.string(), "n": pa.float64(), "t": pa.string()})

# Few keys and few values, so that equal, swapped and nearly equal rows are common.
KEYS = st.sampled_from(["a", "a ", "A", ""])
NUMBERS = st.sampled_from([None, 0.0, -0.0, 0.1 + 0.2, 0.3, math.nan, math.inf])
TEXTS = st.sampled_from([None, "", " ", "x", "X"])
IMAGES = st.fixed_dictionaries({"n": NUMBERS, "t": TEXTS})

Place = tuple[int, int]
Image = dict[str, Any]


@st.composite
def events(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Return events of distinct positions, in random order; an update may change its key."""
    places = draw(
        st.lists(st.tuples(st.integers(0, 2), st.integers(1, 30)), max_size=8, unique=True).map(sorted)
    )
    found = []
    for generation, position in places:
        op, key = draw(st.sampled_from("IUD")), draw(KEYS)
        image = draw(IMAGES) if op != "D" else {"n": None, "t": None}
        before = {"id": draw(KEYS)} if op == "U" and draw(st.booleans()) else None
        # A different commit time each, so that no two updates are a swap: that has tests of its own.
        at = pa.scalar(generation * 1000 + position, pa.timestamp("s", tz="UTC")).as_py()
        found.append(
            event(op, position, generation=generation, before=before, committed_at=at, id=key, **image)
        )
    return draw(st.permutations(found))


def last_effects(found: list[dict[str, Any]], completed: int) -> dict[str, tuple[Place, Image | None]]:
    """Return per key where its last event stands and the image it left, None for a delete."""
    effects: dict[str, tuple[Place, Image | None]] = {}

    def take(key: str, place: Place, image: Image | None) -> None:
        if key not in effects or place > effects[key][0]:
            effects[key] = (place, image)

    for one in found:
        place = (one["_cdc_generation"], int(one["_cdc_position"]))
        if place[0] < completed:
            continue
        old = one.get("_cdc_before_id")
        if old is not None and old != one["id"]:
            take(old, place, None)
        take(one["id"], place, None if one["_cdc_op"] == "D" else {"n": one["n"], "t": one["t"]})
    return effects


def equal(left: Any, right: Any) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        return left == right or (math.isnan(left) and math.isnan(right))
    return bool(left == right)


def is_right(expected: tuple[Place, Image | None], rows: list[tuple[Place, Image]]) -> bool:
    """Return whether base may hold ``rows`` for a key whose last event of the window is ``expected``."""
    place, image = expected
    if len(rows) > 1:
        return False
    if not rows:
        return image is None
    held_at, held = rows[0]
    if held_at != place:
        return held_at > place
    return image is not None and all(equal(image[name], held[name]) for name in image)


@st.composite
def edited(
    draw: st.DrawFn, effects: dict[str, tuple[Place, Image | None]]
) -> dict[str, list[tuple[Place, Image]]]:
    """Return the right base rows with up to three faults or later changes."""
    base = {key: [(place, image)] if image else [] for key, (place, image) in effects.items()}
    for _ in range(draw(st.integers(0, 3))):
        key = draw(KEYS)
        rows = base.setdefault(key, [])
        match draw(st.sampled_from(["drop", "add", "value", "later", "earlier", "double", "swap"])):
            case "drop":
                rows.clear()
            case "add":
                rows.append(((draw(st.integers(0, 2)), draw(st.integers(0, 31))), draw(IMAGES)))
            case "value" if rows:
                rows[0] = (rows[0][0], draw(IMAGES))
            case "later" if rows:
                rows[0] = ((rows[0][0][0], rows[0][0][1] + 1), rows[0][1])
            case "earlier" if rows:
                rows[0] = ((rows[0][0][0], rows[0][0][1] - 1), rows[0][1])
            case "double" if rows:
                rows.append(rows[0])
            case "swap":
                other = base.setdefault(draw(KEYS), [])
                rows[:], other[:] = list(other), list(rows)
    return base


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_the_verdict_is_that_of_an_exact_comparison(data: st.DataObject) -> None:
    found = data.draw(events(), "events")
    completed = data.draw(st.integers(0, 2), "completed generation")
    effects = last_effects(found, completed)
    base = data.draw(edited(effects), "base")
    rows = [
        row(place[1], generation=place[0], id=key, **image)
        for key, held in base.items()
        for place, image in held
    ]
    cut = data.draw(st.integers(0, len(found)), "cut")
    files = [CASE.file(*found[:cut], name="a"), CASE.file(*found[cut:], name="b")]

    compared = CASE.compare(files, CASE.base(*rows), completed_generation=completed)

    wrong = {key for key, expected in effects.items() if not is_right(expected, base.get(key, []))}
    assert (Verdict.DIFFERENT if wrong else Verdict.MATCH) == compared.verdict
    assert (len(effects), len(wrong)) == (compared.tally.compared, compared.tally.different)
    assert wrong == {found.key["id"] for found in compared.discrepancies}
