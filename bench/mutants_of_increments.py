"""Faults in what an incremental run believes of earlier ones."""

from __future__ import annotations

from bench.mutant import Mutant, of

_TESTS = "reconcile/test_incremental.py"
_SLOT = "reconcile/test_capture_slot.py"
_REMAINDERS = "reconcile/test_incremental_remainders.py"
_IDENTITY = "reconcile/test_source_identity.py"
_RESTORED = "reconcile/test_restored_source.py"
_LOOKS = ("reconcile/test_changed_rows.py",)
_SEARCH = ("reconcile/test_ascending_keys.py",)


def _by(test: str) -> tuple[str]:
    return (f"{_TESTS}::{test}",)


INCREMENT_MUTANTS: tuple[Mutant, ...] = (
    *of(
        "reconcile/changes_since.py",
        ("keys that were not equal forgotten", "        _add_open_keys(connection, sides, ledger, proofs)\n",
         "",
         (*_by("test_a_difference_is_looked_up_again_until_it_is_gone"),
          *_by("test_a_change_in_flight_that_never_arrives_is_not_forgotten"))),
    ),
    *of(
        "reconcile/changes_since.py",
        ("proofs of other conditions hold",
         'doubt = doubt_of(proofs.conditions, ledger.conditions, "the table was proven")', 'doubt = ""',
         _by("test_other_rules_columns_or_digests_make_all_proofs_void")),
    ),
    *of(
        "reconcile/changes_since.py",
        ("a log believed that stands before what the last run read",
         "(proofs.reached.position, *(", '("0/0", *(',
         (f"{_IDENTITY}::test_a_source_that_went_back_behind_the_last_run_is_read_anew",)),
        ("fewer transactions than the last run saw believed",
         "    doubt = doubt or begun_fewer(proofs.reached.transactions, ledger.reached.transactions)\n", "",
         (f"{_IDENTITY}::test_a_source_that_went_back_behind_the_last_run_is_read_anew",)),
    ),
    *of(
        "reconcile/proof_conditions.py",
        ("a server believed that was started again", '"server_start": plan.started,', '"server_start": "",',
         (_RESTORED,)),
    ),
    *of(
        "reconcile/ledger.py",
        ("proofs moved on without where the source was read",
         "reached=replace(self.reached, position=found.source_position)", "reached=self.reached",
         (f"{_IDENTITY}::test_a_run_that_moves_proofs_on_keeps_how_far_the_source_had_come",)),
    ),
    *of(
        "reconcile/full_run.py",
        ("what a standby behind capture has goes on as equal",
         "keeps = self.reader.snapshot_read and not is_behind",
         "keeps = self.reader.snapshot_read", ("reconcile/test_standby.py",)),
        ("proofs outlive a capture beyond the source", "self.ledger.end()", "pass",
         (f"{_IDENTITY}::test_capture_beyond_the_source_ends_all_proofs_for_good",)),
    ),
    *of(
        "reconcile/touched_keys.py",
        ("an update without a before image changes no key", "        if is_blind(batch.events, names):\n",
         "        if False:\n",
         ("reconcile/test_untold.py::test_a_key_that_changed_without_a_before_image_leaves_no_proof",)),
    ),
    *of(
        "reconcile/incremental.py",
        ("raw tells every change of a table with child tables", "        if self.untold:\n",
         "        if False:\n",
         ("reconcile/test_untold.py::"
          "test_a_change_of_a_child_table_of_which_no_file_tells_is_found_by_every_run",)),
    ),
    *of(
        "reconcile/base_delta.py",
        ("files written over in place not looked for", "    check_files(base, now)\n", "",
         ("reconcile/test_damaged_files.py::"
          "test_a_data_file_written_over_in_place_is_found_by_an_incremental_run",)),
    ),
    *of(
        "reconcile/changes_since.py",
        ("a slot made anew believed", "    doubt = doubt or ledger.slot.doubt(proofs.conditions.get(SLOT))\n",
         "", (_SLOT,)),
    ),
    *of(
        "reconcile/capture_slot.py",
        ("a slot that counts anew believed",
         "confirmed < before or decoded < earlier_decoded", "confirmed < before",
         (_SLOT,)),
        ("a slot believed that decoded as much as there was", "_DECODED_AGAIN = 10", "_DECODED_AGAIN = 1",
         (_SLOT,)),
        ("a stopped task's slot believed wherever it begins",
         "or (checkpoint is not None and confirmed <= checkpoint)", "or True", (_SLOT,)),
        ("a slot believed after the task was started again", "run == self.task.run and keeps_all",
         "keeps_all", (_SLOT,)),
    ),
    *of(
        "reconcile/proven_segments.py",
        ("proofs hold while capture is behind", "    if judgement.verdict is not Verdict.DIFFERENT:\n",
         "    if False:\n", _by("test_proofs_do_not_hold_while_capture_is_behind_or_unknown")),
        ("changed keys over budget match", "    if standing.left_over:\n", "    if False:\n",
         (_REMAINDERS,)),
    ),
    *of(
        "reconcile/source_rows.py",
        ("look-ups go on when the time is over", "if after and is_over():", "if False:", (_REMAINDERS,)),
    ),
    *of(
        "reconcile/source_base.py",
        ("keys nobody looked up have no source row", 'DELETE FROM {table} WHERE key_id > {last}', "SELECT 1",
         (_REMAINDERS,)),
    ),
    *of(
        "reconcile/drill.py",
        ("keys the time left over forgotten", "numbers = {*self.beyond, *more}", "numbers = {*self.beyond}",
         (_REMAINDERS,)),
    ),
    *of(
        "reconcile/segment_results.py",
        ("segments equal by digest though doubled keys were left over", "**dict.fromkeys(left, LookedUp()), ",
         "", (_REMAINDERS,)),
    ),
    *of(
        "reconcile/incremental.py",
        ("proofs kept though keys were left over", "self.look.left_over or self.left or",
         "self.look.left_over or", (_REMAINDERS,)),
        ("changed keys that may differ and were left over match", " + self.left.get(number, 0)", "",
         (_REMAINDERS,)),
    ),
    *of(
        "reconcile/changed_rows.py",
        ("changed keys equal whatever their digests",
         "coalesce(s.lane1 = b.lane1 AND s.lane2 = b.lane2, true)", "true", _LOOKS),
        ("a changed key equal though one side has no row", "(s.{first} IS NULL) = (b.{first} IS NULL)",
         "true", _LOOKS),
        ("changed keys of several equal rows equal",
         "bool_and(is_equal) AND count(*) = 1", "bool_and(is_equal)", _LOOKS),
        ("changed keys on their way equal", "AND w.{first} IS NULL AND", "AND", _LOOKS),
        ("changed keys nobody read equal", "f\"c.rowid >= {reading.done}\"", "\"false\"", _LOOKS),
        ("keys of a broken stream have no rows",
         "            return False\n        if self._error is not None",
         "            return True\n        if self._error is not None", _LOOKS),
        ("errors of a stream of keys ignored", "            raise self._error\n", "            return True\n",
         _LOOKS),
        ("suspect keys not looked up", "AND NOT is_equal ORDER BY", "AND false ORDER BY", _LOOKS),
    ),
    *of(
        "reconcile/ascending_keys.py",
        ("files searched as if they ascended", "np.flatnonzero(stored[1:] <= stored[:-1]) + 1",
         "np.empty(0, np.int64)", _SEARCH),
        ("a key that comes twice found once", "stored[1:] <= stored[:-1]", "stored[1:] < stored[:-1]",
         _SEARCH),
        ("the last key of a run not sought", 'stored[-1], "right"', 'stored[-1], "left"', _SEARCH),
        ("row groups passed over at their bounds", "told.max < low or told.min > high",
         "told.max <= low or told.min >= high", _SEARCH),
        ("rows of later row groups counted from the first", "first += held.num_rows", "pass", _SEARCH),
        ("places counted from the run", "at + (first + begin)", "at + first", _SEARCH),
    ),
    *of(
        "reconcile/base_delta.py",
        ("what base gained and lost ignored",
         "UNION ALL\n                SELECT segment, {names} FROM base_changes)",
         ")", _by("test_a_write_into_base_that_no_raw_file_explains_is_found_at_once")),
        ("what raw files name ignored", "SELECT segment, {names} FROM touched_keys UNION ALL\n", "",
         _by("test_a_change_the_merge_lost_is_found_at_its_key")),
        ("unexplained deletes not looked up", '"INSERT INTO touched_keys FROM unexplained"', '"SELECT 1"',
         (_TESTS,)),
        ("deletes of both snapshots turned", "bool_and(is_now) OR NOT bool_or(is_now)", "bool_or(is_now)",
         (_TESTS,)),
        ("new delete files ignored", "if _deletes(a) != _deletes(b)]", "if False]", (_TESTS,)),
        ("rewritten rows cancel by key", "GROUP BY {names}, lane1, lane2 HAVING", "GROUP BY {names} HAVING",
         (_TESTS,)),
    ),
    *of(
        "reconcile/key_places.py",
        ("the first changed keys not sought", "BETWEEN {first} AND {last}", "BETWEEN {last} AND {last}",
         ("reconcile/test_key_places.py",)),
        ("keys of every type bounded by their text", 'kind.partition("(")[0] not in _ORDERED', "False",
         ("reconcile/test_key_places.py",)),
    ),
)  # fmt: skip
