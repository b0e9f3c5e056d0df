"""The pure rules: how verdicts combine, what a difference is, and which types compare by value."""

from __future__ import annotations

import json
from datetime import UTC, datetime, time
from decimal import Decimal

import pyarrow as pa
import pytest

from cdc_platform.lsn import find_lsn, lsn_text
from cdc_platform.reconcile.in_flight import Capture, judge_difference
from cdc_platform.reconcile.typed import common_type, json_value
from cdc_platform.reconcile.verdict import Tally, Verdict, combine


@pytest.mark.parametrize("other", list(Verdict))
def test_a_whole_matches_only_when_every_part_matches(other: Verdict) -> None:
    assert other is combine([Verdict.MATCH, other, Verdict.MATCH])


def test_nothing_at_all_is_not_a_match() -> None:
    assert Verdict.UNVERIFIED is combine([])


@pytest.mark.parametrize("other", list(Verdict))
def test_a_proven_difference_outranks_everything(other: Verdict) -> None:
    assert Verdict.DIFFERENT is combine([other, Verdict.DIFFERENT])


@pytest.mark.parametrize(
    ("tally", "verdict"),
    [
        (Tally(compared=2, matched=1, superseded=1), Verdict.MATCH),
        (Tally(compared=2, matched=1, in_flight=1), Verdict.IN_FLIGHT),
        (Tally(compared=2, in_flight=1, unverified=1), Verdict.UNVERIFIED),
        (Tally(compared=3, in_flight=1, unverified=1, different=1), Verdict.DIFFERENT),
        (Tally(), Verdict.MATCH),
    ],
)
def test_the_counts_allow_no_better_verdict_than_their_worst_key(tally: Tally, verdict: Verdict) -> None:
    assert verdict is tally.verdict


@pytest.mark.parametrize(
    ("read", "capture", "verdict"),
    [
        ("0/20", Capture("0/20", "0/20"), Verdict.DIFFERENT),
        ("0/20", Capture("0/21", "0/30"), Verdict.DIFFERENT),
        ("0/20", Capture("checkpoint:V1#1#00000000/00000020#0#0#*#0#93"), Verdict.DIFFERENT),
        ("1/0", Capture("0/FFFFFFFF"), Verdict.IN_FLIGHT),
        ("0/20", Capture("0/1F"), Verdict.IN_FLIGHT),
        ("0/20", Capture("0/20", unaccepted=1), Verdict.IN_FLIGHT),
        ("0/20", Capture(None, unaccepted=1), Verdict.IN_FLIGHT),
        ("0/20", Capture(None), Verdict.UNVERIFIED),
        ("0/20", Capture("0/40", "0/30"), Verdict.UNVERIFIED),
        ("0/2000", Capture("0/2028", "0/2000"), Verdict.DIFFERENT),
        ("0/2000", Capture("0/2029", "0/2000"), Verdict.UNVERIFIED),
        ("0/2010", Capture("0/2028", "0/2010"), Verdict.UNVERIFIED),
        ("0/20", Capture("0/40", "0/40", before="0/20"), Verdict.DIFFERENT),
        ("0/20", Capture("0/40", "0/40", before="0/21"), Verdict.UNVERIFIED),
        ("0/20", Capture("mysql-bin.000024:373"), Verdict.UNVERIFIED),
    ],
    ids=repr,
)
def test_a_difference_is_real_only_once_no_change_can_be_on_its_way(
    read: str, capture: Capture, verdict: Verdict
) -> None:
    assert verdict is judge_difference(read, capture).verdict


@pytest.mark.parametrize("text", ["0/0", "0/16B3748", "4AF/B00000D0", "FFFFFFFF/FFFFFFFF"])
def test_a_log_position_survives_the_round_trip(text: str) -> None:
    position = find_lsn(text)

    assert position is not None
    assert text == lsn_text(position)


@pytest.mark.parametrize(
    "text", [None, "", "16B3748", "0/16B3748/1", "mysql-bin.000024:373", "g/1", "0/123456789"]
)
def test_what_is_no_log_position_is_none(text: str | None) -> None:
    assert find_lsn(text) is None


def test_a_checkpoint_is_as_far_as_the_position_it_holds() -> None:
    assert find_lsn("4AF/B00000D0") == find_lsn("checkpoint:V1#1#000004AF/B00000D0#0#0#*#0#93")


@pytest.mark.parametrize(
    ("left", "right", "both"),
    [
        (pa.int32(), pa.int64(), pa.int64()),
        (pa.int32(), pa.float64(), pa.float64()),
        (pa.int64(), pa.float64(), None),
        (pa.float32(), pa.float64(), pa.float64()),
        (pa.decimal128(10, 2), pa.decimal128(12, 4), pa.decimal128(12, 4)),
        (pa.decimal128(38, 0), pa.decimal128(38, 10), None),
        (pa.int64(), pa.decimal128(10, 2), pa.decimal128(21, 2)),
        (pa.string(), pa.large_string(), pa.string()),
        (pa.binary(), pa.large_binary(), pa.binary()),
        (pa.null(), pa.date32(), pa.date32()),
        (pa.string(), pa.int64(), None),
        (pa.bool_(), pa.int32(), None),
        (pa.timestamp("us"), pa.timestamp("us", tz="UTC"), None),
        (pa.list_(pa.large_string()), pa.large_list(pa.string()), pa.list_(pa.string())),
    ],
    ids=repr,
)
def test_two_types_have_a_common_one_only_when_no_value_changes(
    left: pa.DataType, right: pa.DataType, both: pa.DataType | None
) -> None:
    assert both == common_type(left, right)
    assert both == common_type(right, left)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, None),
        (True, True),
        (2**60, 2**60),
        (0.1, 0.1),
        (float("nan"), "NaN"),
        (float("-inf"), "-inf"),
        (Decimal("1.10"), "1.10"),
        (b"\x00\xff", "\\x00ff"),
        (datetime(2026, 3, 1, tzinfo=UTC), "2026-03-01T00:00:00+00:00"),
        (time(1, 2), "01:02:00"),
        ([Decimal(1), None], ["1", None]),
        ({"a": b""}, {"a": "\\x"}),
        ("x" * 2001, "x" * 2000 + "… (2001 characters)"),
    ],
    ids=repr,
)
def test_a_value_goes_into_json_without_losing_a_digit(value: object, shown: object) -> None:
    assert shown == json.loads(json.dumps(json_value(value), allow_nan=False))
