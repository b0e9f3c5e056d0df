"""Faults in the comparison of whole rows, of tables without a merge key."""

from __future__ import annotations

from bench.mutant import Mutant, of

_BAGS = "reconcile/test_row_bags.py"
_KEYLESS = "reconcile/test_keyless.py"
_WAITING = f"{_KEYLESS}::test_a_row_whose_file_is_not_merged_yet_is_in_flight_accepted_or_not"
_KEPT = f"{_KEYLESS}::test_rows_that_the_source_deleted_are_kept_by_declaration_where_raw_has_their_deletes"
_EXPORT = f"{_KEYLESS}::test_an_export_of_the_past_matches_once_what_came_later_is_reckoned_in"

_PARTS = of(
    "reconcile/row_parts.py",
    ("parts of as many rows are equal", "(s.n, s.lane1, s.lane2) IS DISTINCT FROM (b.n, b.lane1, b.lane2)",
     "s.n IS DISTINCT FROM b.n", (_BAGS,)),
    ("parts of one side alone forgotten", "source_parts s FULL JOIN base_parts b",
     "source_parts s JOIN base_parts b", (_BAGS,)),
) + of(
    "reconcile/odd_rows.py",
    ("rows as sets", "sum(n)::BIGINT AS n FROM {bag} GROUP BY ALL)",
     "1::BIGINT AS n FROM {bag} GROUP BY ALL)", (_BAGS,)),
    ("rows of the source alone forgotten", "{source} s FULL JOIN {base} b", "{source} s RIGHT JOIN {base} b",
     (_BAGS,)),
    ("what moved is judged", "part IN (SELECT part FROM moved) AS moved", "false AS moved", (_BAGS,)),
    ("all that differs is looked into", "sum(greatest(n_source, n_base)) OVER parts_in_order AS through",
     "0 AS through", (_BAGS,)),
)  # fmt: skip

_OUTCOMES = of(
    "reconcile/row_outcomes.py",
    ("changes after an export explain themselves", "WHERE shift <> 0", "WHERE false",
     (f"{_KEYLESS}::test_a_row_that_came_after_an_export_and_that_base_has_lost_is_no_match",)),
    ("changes after an export that cancel count", "WHERE shift <> 0", "WHERE true",
     (f"{_KEYLESS}::test_changes_after_an_export_that_cancel_each_other_leave_a_match",)),
    ("waiting copies explain any number", "off BETWEEN -(went + deleted) AND came",
     "came + went > 0 OR off BETWEEN -deleted AND 0",
     (f"{_KEYLESS}::test_a_row_more_of_which_was_lost_than_a_waiting_file_brings_is_different",)),
    ("files on their way explain nothing", "off BETWEEN -(went + deleted) AND came", "false", (_WAITING,)),
    ("any number of deletes is kept", "off < 0 AND -off <= deleted", "off < 0 AND deleted > 0",
     (f"{_KEYLESS}::test_a_row_more_than_raw_has_deletes_of_is_different",)),
    ("a missing row is kept", "off < 0 AND -off <= deleted", "abs(off) <= deleted",
     (f"{_KEYLESS}::test_a_row_raw_says_was_deleted_and_that_base_lacks_is_no_row_too_many",)),
    ("what the source deleted differs", "off < 0 AND -off <= deleted", "false", (_KEPT,)),
    ("what came later is not reckoned in", "coalesce(h.came_after - {went}, 0)", "0", (_EXPORT,)),
    ("a table that keeps every row is changed by deletes", '("0", "h.went_before") if',
     '("h.went_after", "h.went_before") if', (_EXPORT,)),
    ("doubt of a surplus ignored", "{'true' if raw.doubt_of_surplus else 'false'}", "false",
     (f"{_KEYLESS}::test_a_delete_that_does_not_tell_its_row_leaves_rows_too_many_open",)),
    ("rows equal in passing match", "FROM changing c ANTI JOIN odd o", "FROM odd o ANTI JOIN changing c",
     (f"{_KEYLESS}::test_a_row_that_is_equal_now_and_that_a_waiting_file_changes_is_in_flight",)),
)  # fmt: skip

_EVENTS = of(
    "reconcile/row_events.py",
    ("the row before an update stays", '"0 AS came, 1 AS went"', '"0 AS came, 0 AS went"',
     (f"{_KEYLESS}::test_an_update_not_merged_yet_is_in_flight_in_the_row_before_and_the_row_after",)),
    ("updates that do not tell pass", 'return "false" if is_told else', 'return "false" if True else',
     (f"{_KEYLESS}::test_while_a_waiting_update_does_not_tell_the_row_it_takes_away_nothing_is_different",)),
    ("files nobody can read change nothing", "            untold += 1\n", "            pass\n",
     (f"{_KEYLESS}::test_a_file_nobody_can_read_may_change_any_row",)),
    ("an event told twice counts twice", "QUALIFY position = 0 OR row_number()",
     "QUALIFY true OR row_number()",
     (f"{_KEYLESS}::test_an_event_told_twice_is_one_when_changes_since_are_reckoned_in",)),
) + of(
    "reconcile/keyless.py",
    ("two loads in base are one", "    if oldest == newest:\n", "    if True:\n",
     (f"{_KEYLESS}::test_while_a_reload_is_not_known_to_be_complete_nothing_is_decided",)),
    ("an export is of now", "timed = when if when is not None and when.is_known else None",
     "timed = None", (_EXPORT,)),
) + of(
    "reconcile/ruled_rows.py",
    ("a form has any number of partners", "min(*left, one.n - used[one.variant])", "min(left)", (_BAGS,)),
    ("rows beside an ambiguous pairing are certain", "    return found, _reached(links, undecided)\n",
     "    return found, undecided\n", (_BAGS,)),
) + of(
    "reconcile/row_run.py",
    ("base in between two loads is judged", "        if observed.in_between:\n", "        if False:\n",
     (f"{_KEYLESS}::test_while_a_reload_is_not_known_to_be_complete_nothing_is_decided",)),
) + of(
    "reconcile/row_results.py",
    ("parts that were left match", "odd.open + parts.left_rows", "odd.open", (_BAGS,)),
    ("moved parts without odd rows match", "flying = odd.in_flight + changing + parts.settled",
     "flying = odd.in_flight + changing", (_BAGS,)),
)  # fmt: skip

WHOLE_ROW_MUTANTS: tuple[Mutant, ...] = (*_PARTS, *_OUTCOMES, *_EVENTS)
