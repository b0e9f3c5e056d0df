"""The verdict of a column is about the rows both sides have, and never better than what is known of them."""

from __future__ import annotations

import pytest

from cdc_platform.assets.metadata import comparison_metadata
from cdc_platform.reconcile.column_verdicts import column_verdicts, columns_by_verdict
from cdc_platform.reconcile.difference_kinds import ColumnDifference
from cdc_platform.reconcile.verdict import Comparison, Excluded, Gap, Tally, Verdict, combine

COLUMNS = ("id", "name", "price")


def comparison(tally: Tally, *points: Verdict, differ: tuple[str, ...] = (), **more: object) -> Comparison:
    return Comparison(
        "c",
        combine([tally.verdict, *points]),
        "",
        tally,
        columns=COLUMNS,
        column_differences=tuple(ColumnDifference(column, 1, 1, ()) for column in differ),
        points=points,
        **more,  # type: ignore[arg-type]
    )


def verdicts(one: Comparison) -> list[str]:
    return [column_verdicts(one)[column].value for column in COLUMNS]


def test_every_column_of_a_match_is_one() -> None:
    assert ["MATCH"] * 3 == verdicts(comparison(Tally(compared=5, matched=5)))


def test_only_the_columns_that_differ_are_different() -> None:
    one = comparison(Tally(compared=5, matched=4, different=1), differ=("price",))

    assert ["MATCH", "MATCH", "DIFFERENT"] == verdicts(one)


def test_a_row_that_is_missing_makes_no_column_different() -> None:
    assert ["MATCH"] * 3 == verdicts(comparison(Tally(compared=5, matched=4, different=1)))


@pytest.mark.parametrize(
    ("tally", "points", "expected"),
    [
        (Tally(compared=5, matched=3, different=1, unverified=1), (), "UNVERIFIED"),
        (Tally(compared=5, matched=3, different=1, in_flight=1), (), "IN_FLIGHT"),
        (Tally(compared=5, matched=4, different=1), (Verdict.UNVERIFIED,), "UNVERIFIED"),
        (Tally(compared=5, matched=5), (Verdict.IN_FLIGHT,), "IN_FLIGHT"),
        (Tally(), (Verdict.ERROR,), "ERROR"),
    ],
)
def test_what_is_open_about_the_rows_is_open_for_the_columns_that_do_not_differ(
    tally: Tally, points: tuple[Verdict, ...], expected: str
) -> None:
    differ = ("name",) if tally.different else ()
    different = ["DIFFERENT"] if differ else [expected]

    assert [expected, *different, expected] == verdicts(comparison(tally, *points, differ=differ))


def test_a_column_left_out_is_excluded_and_a_gap_is_unverified() -> None:
    left = (Excluded("note", "left out"), Excluded("added", "base lacks it", Gap.NOT_IN_BASE))
    one = comparison(Tally(compared=5, matched=5), excluded=left)

    assert ("EXCLUDED", "UNVERIFIED") == (column_verdicts(one)["note"], column_verdicts(one)["added"])
    assert {"UNVERIFIED": ["added"], "MATCH": list(COLUMNS), "EXCLUDED": ["note"]} == columns_by_verdict(one)


def test_a_column_known_to_differ_by_digests_is_different() -> None:
    one = comparison(Tally(compared=5, unverified=5), guilty=("name",))

    assert ["UNVERIFIED", "DIFFERENT", "UNVERIFIED"] == verdicts(one)


def test_what_dagster_shows_names_columns_known_to_differ_by_digests() -> None:
    one = comparison(Tally(compared=5, unverified=5), guilty=("name",))

    assert "DIFFERENT: name; UNVERIFIED: id, price" == comparison_metadata(one)["columns_by_verdict"]
