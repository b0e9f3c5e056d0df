"""What cannot be applied is set aside with a reason, and can be replayed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cdc_platform.errors import MergeError, RawFileVanished, UnreadableRawFile
from cdc_platform.events import PositionKind
from cdc_platform.lake.merge import MergeInput
from cdc_platform.lake.quarantine import QuarantineState, discard, list_items, release
from cdc_platform_tests.lake.conftest import SOURCE, Bench
from cdc_platform_tests.lake.memory_files import (
    Rejected,
    accepted,
    change_file,
    changes,
    load_file,
    memory_file,
)

TORN = UnreadableRawFile("the file is cut short", where="torn", mend="let DMS write it again")


def items(bench: Bench) -> list[tuple[str, int | None, str]]:
    return [(i.key, i.row, i.state.value) for i in list_items(bench.lake, SOURCE, bench.config.id)]


def test_a_file_that_cannot_be_opened_is_set_aside_and_the_others_go_on(bench: Bench) -> None:
    def gone() -> object:
        raise RawFileVanished("the file was listed and is gone", where="gone", mend="look why")

    result = bench.merge(
        MergeInput(accepted("gone"), gone),  # type: ignore[arg-type]  # it never returns
        change_file("good", ("I", 1, "x", 10)),
    )

    assert [(1, "x")] == bench.rows()
    assert [("gone", None, "open")] == items(bench)
    assert 1 == result.files_quarantined


def test_a_file_that_breaks_half_way_leaves_none_of_its_rows(bench: Bench) -> None:
    events = [("I", key, "x", 10 + key) for key in range(9)]
    bench.merge(change_file("torn", *events, fault=TORN), change_file("good", ("I", 99, "y", 5)))

    assert [(99, "y")] == bench.rows()
    assert [("torn", None, "open")] == items(bench)


def test_a_quarantined_file_waits_until_it_is_released(bench: Bench) -> None:
    bench.merge(change_file("torn", ("I", 1, "x", 10), fault=TORN))
    mended = change_file("torn", ("I", 1, "x", 10))
    assert 1 == bench.merge(mended).files_waiting

    (item,) = list_items(bench.lake, SOURCE, bench.config.id, state=QuarantineState.OPEN)
    release(bench.lake, SOURCE, bench.config.id, item.id)
    bench.merge(mended)

    assert [(1, "x")] == bench.rows()
    assert [("torn", None, "replayed")] == items(bench)


def test_a_released_file_that_still_fails_is_open_again(bench: Bench) -> None:
    torn = change_file("torn", ("I", 1, "x", 10), fault=TORN)
    bench.merge(torn)
    (item,) = list_items(bench.lake, SOURCE, bench.config.id)
    release(bench.lake, SOURCE, bench.config.id, item.id)
    bench.merge(torn)

    assert [("torn", None, "open")] == items(bench)


def test_a_discarded_file_is_neither_applied_nor_waiting(bench: Bench) -> None:
    bench.merge(change_file("torn", ("I", 1, "x", 10), fault=TORN))
    (item,) = list_items(bench.lake, SOURCE, bench.config.id)
    discard(bench.lake, SOURCE, bench.config.id, item.id)
    result = bench.merge(change_file("torn", ("I", 1, "x", 10)))

    assert (0, 0, "discarded") == (result.files_waiting, len(result.files_applied), items(bench)[0][2])


def test_a_row_with_a_null_key_is_set_aside_and_the_rest_of_its_file_applied(bench: Bench) -> None:
    result = bench.merge(change_file("a", ("I", None, "x", 10), ("I", 2, "y", 11), ("I", 3, "z", 12)))

    assert [(2, "y"), (3, "z")] == bench.rows()
    assert [("a", 0, "open")] == items(bench)
    assert (1, "the merge key is NULL") == (result.counts.rows_quarantined, result.quarantined[0].reason)


def test_rows_the_reader_refuses_are_set_aside_with_its_words(bench: Bench) -> None:
    refused = [Rejected(7, "price", "'abc' is no decimal", "mend the row", {"id": "4", "price": "abc"})]
    bench.merge(change_file("a", ("I", 1, "x", 10), ("I", 2, "y", 11), rejected=refused))
    (item,) = list_items(bench.lake, SOURCE, bench.config.id)

    assert ("price", "'abc' is no decimal", {"id": "4", "price": "abc"}) == (
        item.column,
        item.reason,
        item.values,
    )


def test_a_released_row_is_replayed_alone_from_its_applied_file(bench: Bench) -> None:
    bench.merge(change_file("a", ("I", None, "x", 10), ("I", 2, "y", 11), ("I", 3, "z", 12)))
    (item,) = list_items(bench.lake, SOURCE, bench.config.id)
    release(bench.lake, SOURCE, bench.config.id, item.id)
    mended = memory_file(
        changes(("I", 1, "x", 10), ("I", 2, "not again", 99), ("I", 3, "not again", 99)), generation=0
    )
    bench.merge(MergeInput(accepted("a"), lambda: mended))

    assert [(1, "x"), (2, "y"), (3, "z")] == bench.rows()
    assert [("a", 0, "replayed")] == items(bench)


def test_a_file_most_of_whose_rows_are_faulty_is_set_aside_whole(bench: Bench) -> None:
    bench.merge(change_file("a", ("I", None, "x", 10), ("I", None, "y", 11), ("I", 3, "z", 12)))

    assert [("a", None, "open")] == items(bench)
    assert None is bench.lake.load(SOURCE, bench.config.id)


def test_more_than_a_thousand_faulty_rows_set_the_file_aside_whole(bench: Bench) -> None:
    bad = [("I", None, "x", 10 + n) for n in range(1_001)]
    good = [("I", n, "x", 5_000 + n) for n in range(3_000)]
    bench.merge(change_file("a", *bad, *good, batch_rows=5_000), load_file("l", (1, "a")))

    assert [("a", None, "open")] == items(bench)
    assert [(1, "a")] == bench.rows()


def test_an_unknown_id_is_refused_with_the_way_to_find_one(bench: Bench) -> None:
    with pytest.raises(MergeError, match="no quarantined item 'nope' → `cdc quarantine list`"):
        release(bench.lake, SOURCE, bench.config.id, "nope")


def release_all(bench: Bench) -> None:
    for item in list_items(bench.lake, SOURCE, bench.config.id):
        release(bench.lake, SOURCE, bench.config.id, item.id)


def test_a_released_row_that_still_fails_is_open_again_and_its_file_stays_applied(bench: Bench) -> None:
    faulty = change_file("a", ("I", None, "x", 10), ("I", 2, "y", 11), ("I", 3, "z", 12))
    bench.merge(faulty)
    release_all(bench)
    bench.merge(faulty)

    assert [("a", 0, "open")] == items(bench)


def test_a_released_file_of_a_superseded_generation_is_done_with(bench: Bench) -> None:
    torn = change_file("torn", ("I", 1, "x", 10), fault=TORN)
    bench.merge(torn, load_file("l", (2, "loaded"), generation=1), completed=1)
    release_all(bench)
    bench.merge(change_file("torn", ("I", 1, "x", 10)))

    assert ([(2, "loaded")], [("torn", None, "replayed")]) == (bench.rows(), items(bench))


@pytest.mark.parametrize("decide", [discard, None], ids=["discarded", "open"])
def test_a_row_in_quarantine_stays_there_when_its_file_moves_to_another_load(
    bench: Bench, decide: Callable[..., object] | None
) -> None:
    events = [("I", 1, "x", 10), ("I", 2, "y", 11), ("I", 3, "z", 12)]
    bench.merge(change_file("a", ("I", None, "x", 10), *events[1:]))
    (item,) = list_items(bench.lake, SOURCE, bench.config.id)
    if decide is not None:
        decide(bench.lake, SOURCE, bench.config.id, item.id)
    bench.merge(change_file("a", *events, generation=1), load_file("l"), completed=1)

    assert [(2, "y"), (3, "z")] == bench.rows()


def test_a_file_that_was_set_aside_does_not_decide_what_positions_are_made_of(bench: Bench) -> None:
    bench.merge(
        change_file("torn", ("I", 1, "x", 10), fault=TORN), load_file("l", (9, "loaded"), generation=0)
    )
    bench.merge(change_file("other", ("I", 2, "y", 11), position_kind=PositionKind.COMMIT_TIME))

    assert [(2, "y"), (9, "loaded")] == bench.rows()
