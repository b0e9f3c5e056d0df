"""How far main may be moved, decided from what is pending and the newest verdicts."""

from __future__ import annotations

from cdc_platform.publication_rule import Decision, Judged, Pending, decide


def pending(*windows: str) -> list[Pending]:
    """Return snapshots 1, 2, …, each of the windows its text names."""
    return [Pending(number, frozenset(names.split())) for number, names in enumerate(windows, start=1)]


def match(snapshot_id: int, run_id: str = "1") -> Judged:
    return Judged("MATCH", snapshot_id, run_id)


def reasons(decision: Decision) -> dict[str | None, str]:
    return {one.window: one.reason for one in decision.held}


def test_nothing_is_published_without_a_verdict() -> None:
    decision = decide(pending("a"), {}, None)

    assert (0, {"a": "it was not reconciled yet"}) == (decision.publishable, reasons(decision))


def test_a_window_found_match_is_published() -> None:
    assert Decision(1, ()) == decide(pending("a"), {"a": match(1)}, None)


def test_a_window_that_changed_again_since_its_verdict_holds_what_follows() -> None:
    decision = decide(pending("a", "a"), {"a": match(1)}, None)

    assert 1 == decision.publishable
    assert {"a": "rows of it changed again since it was found MATCH"} == reasons(decision)


def test_a_verdict_about_a_later_snapshot_does_not_publish_an_earlier_one() -> None:
    decision = decide(pending("a", "b"), {"a": match(2)}, None)

    assert (0, ["b"]) == (decision.publishable, list(reasons(decision)))


def test_several_windows_are_published_up_to_where_all_of_them_are_proven() -> None:
    verdicts = {"a": match(2), "b": match(2), "c": match(4)}

    assert Decision(4, ()) == decide(pending("a", "b", "", "c"), verdicts, None)


def test_what_comes_before_a_window_that_differs_is_published() -> None:
    verdicts = {"a": match(1), "b": Judged("DIFFERENT", 2), "c": match(3)}
    decision = decide(pending("a", "b", "c"), verdicts, None)

    assert 1 == decision.publishable
    assert ["b"] == [one.window for one in decision.held if one.is_refused]


def test_a_newer_verdict_that_is_open_takes_the_place_of_a_match() -> None:
    decision = decide(pending("a", "a"), {"a": Judged("IN_FLIGHT", 2)}, None)

    assert (0, [False]) == (decision.publishable, [one.is_refused for one in decision.held])


def test_a_verdict_from_before_the_pending_snapshots_proves_nothing() -> None:
    decision = decide(pending("a"), {"a": match(99)}, None)

    assert (0, {"a": "it was found MATCH before it was merged last"}) == (
        decision.publishable,
        reasons(decision),
    )


def test_a_load_completed_later_opens_the_windows_before_it_again() -> None:
    snapshots = [*pending("a", "b"), Pending(3, frozenset(), completes_load=True)]
    verdicts = {"a": match(1), "b": match(2)}

    assert 2 == decide(snapshots, verdicts, None).publishable
    assert 3 == decide(snapshots, {"a": match(3), "b": match(3)}, None).publishable


def test_what_another_program_wrote_is_published_only_by_a_full_comparison() -> None:
    snapshots = [*pending("a"), Pending(2, is_foreign=True), Pending(3, frozenset({"b"}))]
    verdicts = {"a": match(1), "b": match(3)}

    assert 1 == decide(snapshots, verdicts, None).publishable
    assert Decision(3, ()) == decide(snapshots, verdicts, match(2))


def test_a_full_comparison_speaks_for_all_up_to_its_snapshot() -> None:
    assert 2 == decide(pending("a", "b", "c"), {}, match(2)).publishable


def test_a_full_comparison_that_a_later_verdict_contradicts_proves_nothing() -> None:
    verdicts = {"a": Judged("DIFFERENT", 2, run_id="2")}

    assert 0 == decide(pending("a", "b"), verdicts, match(2, run_id="1")).publishable
    assert 2 == decide(pending("a", "b"), verdicts, match(2, run_id="3")).publishable
