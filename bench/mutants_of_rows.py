"""Faults in verdicts, rows, readers, windows, exports and repairs."""

from __future__ import annotations

from bench.mutant import (
    AS_OF,
    BAD_INPUT,
    COPY,
    FULL,
    JUDGED,
    KEYS,
    ORACLE,
    OWN_TEXT,
    RAW,
    REACH,
    REPAIR,
    REPAIR_ALTERED,
    REPAIR_GUARDS,
    REPAIR_OWN_TEXT,
    REPAIR_WHOLE,
    RESUMED,
    SESSIONS,
    SOURCE,
    STANDBY,
    VERDICT,
    WINDOW,
    Mutant,
    of,
)

_VERDICTS = of(
    "reconcile/verdict.py",
    ("ERROR as MATCH in the fold", "Verdict.ERROR: 3,", "Verdict.ERROR: 0,", (VERDICT,)),
    ("UNVERIFIED as MATCH in the fold", "Verdict.UNVERIFIED: 2,", "Verdict.UNVERIFIED: 0,", (VERDICT,)),
    ("IN_FLIGHT as MATCH in the fold", "Verdict.IN_FLIGHT: 1,", "Verdict.IN_FLIGHT: 0,", (VERDICT,)),
    ("nothing at all matches", "default=Verdict.UNVERIFIED)", "default=Verdict.MATCH)", (VERDICT,)),
    ("an unverified remainder ignored", "        if self.unverified:\n", "        if False:\n", (VERDICT,)),
)  # fmt: skip

_LOCATION = ("reconcile/test_fault_location.py",)
_REFUSED = (
    *of(
        "reconcile/row_faults.py",
        ("updates set aside that do not tell the row they take away hide nothing",
         "reading.untold or (reading.untold_taken if is_too_many else \"\")", "reading.untold",
         ("reconcile/test_keyless.py",)),
    ),
    *of(
        "reconcile/row_events.py",
        ("changes set aside that do not tell their rows hide nothing",
         "reading.untold = reading.untold or key", "pass", ("reconcile/test_keyless.py",)),
    ),
    *of(
        "reconcile/suspect_events.py",
        ("refused rows of files that wait as a whole passed over",
         "if refused is not None and file.standing in", "if False and file.standing in", _LOCATION),
    ),
    *of(
        "lake/named_keys.py",
        ("refused rows' keys before their update passed over", "for side in (own, old)",
         "for side in (own,)", ("reconcile/test_refused_rows.py",)),
    ),
    *of(
        "reconcile/refused_rows.py",
        ("a refused row that names no key hides nothing", "if not named and", "if False and",
         ("reconcile/test_refused_rows.py",)),
    ),
)  # fmt: skip

_PATIENCE = ("reconcile/test_patience.py",)
_IN_FLIGHT = of(
    "reconcile/in_flight.py",
    ("captured > L demanded", "if captured < read:", "if captured <= read:", (VERDICT, SOURCE)),
    ("capture behind is different", "if captured < read:", "if False:", (VERDICT, SOURCE)),
    ("files on the way ignored", "    if capture.unaccepted:\n", "    if False:\n", (VERDICT, WINDOW)),
    ("no position counts as caught up", "Verdict.UNVERIFIED, \"capture's position is not known",
     "Verdict.DIFFERENT, \"capture's position is not known",
     (VERDICT,)),
    ("another server's log believed", "and _is_beyond(captured, now):", "and False:", (VERDICT,)),
    ("a replica that was behind believed", "and _is_beyond(before, read):", "and False:", (STANDBY,)),
) + of(
    "reconcile/patience.py",
    ("capture that does not come counts as there", "                break\n",
     "                return position\n", _PATIENCE),
    ("what capture said before it came counts", "            captured = ask()\n", "            ask()\n",
     _PATIENCE),
    ("capture that is held up is waited for each time", "self._given_up[source] = position", "pass",
     _PATIENCE),
) + of(
    "reconcile/postgres.py",
    ("what reading leaves in the log is rolled back", "                connection.commit()\n",
     "                connection.rollback()\n",
     ("live/test_live.py::test_while_nothing_is_written_no_run_finds_anything_in_flight",)),
) + of(
    "reconcile/full_run.py",
    ("a server that is gone takes what was proven", "            if not scan.unread:\n",
     "            if True:\n",
     (f"{BAD_INPUT}::test_g2_a_server_that_is_gone_after_the_cut_takes_nothing_from_what_was_proven",)),
) + of(
    "reconcile/guarded.py",
    ("an interruption is a verdict", "        let_through(error)\n", "",
     ("reconcile/test_guarded.py",)),
)  # fmt: skip

_REACHED = of(
    "reconcile/window_reach.py",
    ("any capture has passed a window", "if judged.verdict is Verdict.DIFFERENT:", "if True:", (REACH,)),
    ("a commit before the end proves", "newest >= moment:", "True:", (REACH,)),
    (
        "a run before the end proves",
        'if datetime.fromisoformat(entry["started_at"]) < moment:',
        "if False:",
        (REACH,),
    ),
) + of(
    "reconcile/open_points.py",
    ("files nobody lists forgotten", "    if events.forgotten_files:\n", "    if False:\n", (REACH,)),
)

_RESULTS = of(
    "reconcile/full_result.py",
    ("weak digests prove", "if sides.digest.bits < DIGEST_BITS:", "if False:", (JUDGED,)),
    ("files that may change any key ignored", "[*of_segments, *of_points, ", "[*of_segments, ",
     (f"{FULL}::test_a_raw_file_nobody_can_read_may_hold_any_key_and_stands_against_a_match",)),
) + of(
    "reconcile/column_verdicts.py",
    ("columns match whatever is open", "combine([rows, flying, *comparison.points])", "Verdict.MATCH",
     ("reconcile/test_column_verdicts.py",)),
) + of(
    "reconcile/proof_conditions.py",
    ("rules of another version hold", '    "type_rules_version": "the type rules changed",\n', "",
     (f"{RESUMED}::test_g7_progress_under_other_rules_digests_or_columns_is_not_gone_on_with",)),
    ("digests of another version hold", '    "digest": "the digest changed",\n', "",
     (f"{RESUMED}::test_g7_progress_under_other_rules_digests_or_columns_is_not_gone_on_with",)),
    ("other columns hold", '    "columns": "the compared columns changed",\n', "",
     (f"{RESUMED}::test_g7_progress_under_other_rules_digests_or_columns_is_not_gone_on_with",)),
    ("columns of base under the same name hold", "view.fields.get(c.column, \"\")", "c.column",
     ("reconcile/test_proof_conditions.py",)),
    ("other live rows hold",
     "f\"{view.live_condition} {view.fields.get(OP, '') if view.soft_deletes else ''}\"",
     '""',
     ("reconcile/test_proof_conditions.py",)),
    ("other columns of the source hold", "_text(told) for fact, told in plan.shape_read.items()",
     "_text({}) for fact, told in plan.shape_read.items()", ("reconcile/test_proof_conditions.py",)),
    ("what was not recorded holds", "if any(name not in earlier for name in names):", "if False:",
     ("reconcile/test_proof_conditions.py",)),
) + of(
    "reconcile/full_state.py",
    ("progress of other conditions holds",
     'doubt = doubt_of(found["conditions"], conditions, "the earlier run")', 'doubt = ""',
     (f"{RESUMED}::test_g7_progress_under_other_rules_digests_or_columns_is_not_gone_on_with",)),
    ("another segment is skipped", "equal = {number: Carried", "equal = {number + 1: Carried",
     (RESUMED,)),
)  # fmt: skip

_ROWS = of(
    "reconcile/source_base.py",
    ("no second read of suspects", "    _confirm(connection, reader, plan, judgement)\n", "",
     (JUDGED,)),
    ("doubled rows of base match", "WHEN ob.n > 1 THEN {Outcome.DUPLICATE:d}", "WHEN false THEN 0",
     (f"{ORACLE}::test_many_pairs_in_one_comparison_are_each_judged_as_the_oracle_does",)),
    ("doubled rows of the source match", "WHEN os.n > 1 THEN {Outcome.AMBIGUOUS:d}", "WHEN false THEN 0",
     (f"{ORACLE}::test_many_pairs_in_one_comparison_are_each_judged_as_the_oracle_does",)),
    ("missing and unexpected exchanged", "WHEN ob.n IS NULL THEN {Outcome.MISSING:d}",
     "WHEN ob.n IS NULL THEN {Outcome.UNEXPECTED:d}",
     (f"{SOURCE}::test_rows_missing_and_unexpected_in_base_are_told_apart",)),
    ("keys on their way judged", "a.key_id IS NOT NULL AS awaited", "false AS awaited",
     (f"{SOURCE}::test_a_key_that_a_waiting_file_changes_is_in_flight_even_when_it_is_equal_now",)),
    ("what moved is different", "SET moved = true", "SET moved = false",
     (JUDGED,)),
    ("rows whose key is written otherwise are none",
     "WHEN os.n IS NULL AND oe.key_id IS NOT NULL AND ob.n > 0 THEN {Outcome.SPELLED:d}", "",
     (f"{OWN_TEXT}::test_a_key_that_is_equal_and_written_otherwise_is_neither_missing_nor_unexpected",)),
    ("rules hide everything", "AND NOT coalesce({column.also", "AND NOT coalesce(true OR {column.also",
     (SOURCE,)),
) + of(
    "reconcile/typed.py",
    ("NULL equals everything", 'return f"{left} IS DISTINCT FROM {right}"', 'return f"{left} <> {right}"',
     (RAW,)),
    ("doubles compared as floats", "return pa.float64()\n    if pa.types.is_signed",
     "return pa.float32()\n    if pa.types.is_signed", (VERDICT,)),
)  # fmt: skip

_READERS = of(
    "reconcile/postgres_copy.py",
    ("a stream without an end is whole", "    if not is_whole:\n", "    if False:\n",
     (f"{SESSIONS}::test_g2_a_stream_of_rows_without_its_end_is_an_error",)),
    ("ranges closed above", '(">=", low), ("<", high)', '(">=", low), ("<=", high)', (COPY,)),
    ("ranges open below", '(">=", low), ("<", high)', '(">", low), ("<", high)', (COPY,)),
    ("an error at the end of a stream ignored", "if result.status != ExecStatus.COMMAND_OK:", "if False:",
     (f"{SESSIONS}::test_g2_a_source_that_fails_among_the_rows_is_an_error_with_its_reason",)),
) + of(
    "reconcile/postgres_session.py",
    ("settings not checked", "if row is None or row[0] != value:", "if False:",
     (f"{SESSIONS}::test_g4_a_pooler_that_drops_settings_is_refused",)),
    ("sessions may end", 'dict.fromkeys(end_never(connection), "0")', "{}",
     (f"{SESSIONS}::test_a_role_whose_sessions_end_when_they_wait_is_read_to_the_end",)),
    ("settings not pinned", "        for name, value in pins.items():\n", "        for name, value in ():\n",
     (f"{SESSIONS}::test_b4_whatever_a_role_or_database_sets_the_verdict_is_the_same",)),
) + of(
    "reconcile/postgres.py",
    ("row security ignored", "    if described.hides_rows:\n", "    if False:\n",
     (f"{BAD_INPUT}::test_g5_columns_and_rows_hidden_from_the_user_are_an_error",)),
    ("columns nobody may read left out", "        if not column.readable:\n",
     "        if not column.readable:\n            continue\n        if False:\n",
     (f"{BAD_INPUT}::test_g5_columns_and_rows_hidden_from_the_user_are_an_error",)),
) + of(
    "reconcile/postgres_types.py",
    ("every text is padded", 'return _plan(column, "{}::text", pa.string())\n',
     'return _plan(column, "rtrim({}::text)", pa.string(), base="rtrim({})")\n', (SOURCE,)),
    ("casts to text are what is written", 'return f"pg_catalog.textin({column.output}({{0}}))"',
     'return "{0}::text"', (OWN_TEXT,)),
    ("casts to text of other schemas' types are what is written",
     "pg_catalog.format('%s', {0})", "{0}::text", (OWN_TEXT,)),
    ("numbers rounded to what base has", "places = max(DMS_SCALE, base.scale)\n", "places = base.scale\n",
     (f"{SOURCE}::test_a_value_that_differs_is_found",)),
    ("dates before the first not clamped", " WHEN {{0}} < {first} THEN {first}", "",
     (f"{FULL}::test_values_in_the_form_dms_gives_them_are_equal_by_digest_however_many",)),
) + of(
    "decimal_text.py",
    ("digits taken modulo 2 ** 128", "if most > MOST_DIGITS:", "if False:", ("test_decimal_text.py",)),
) + of(
    "reconcile/postgres_numeric.py",
    ("no sign", "np.where(sign == _NEGATIVE, -total, total)", "total", (COPY,)),
) + of(
    "reconcile/keys_and_versions.py",
    ("columns not read count as covered",
     "excluded=(*others, *(Excluded(name, reason) for name in left)),", "", (KEYS,)),
    ("values not compared stand against a match of keys", "replace(one, gap=None) for", "one for", (KEYS,)),
    ("a permission that is not needed is demanded", "items() if name in wanted},", "items()},",
     (f"{KEYS}::test_only_the_columns_that_are_compared_need_a_permission",)),
) + of(
    "reconcile/doubled_keys.py",
    ("keys double on both sides pass over", "HAVING count(*) > 1)", "HAVING false)",
     ("reconcile/test_doubled_keys.py",)),
) + of(
    "reconcile/key_numbers.py",
    ("numbers near each other are distinct", "np.count_nonzero(marks)) == count",
     "np.count_nonzero(marks)) <= count", ("reconcile/test_key_numbers.py",)),
    ("numbers far apart are distinct", "        return False\n", "        return True\n",
     ("reconcile/test_key_numbers.py",)),
) + of(
    "reconcile/compared_columns.py",
    ("columns that cannot be compared count as equal", "    if not gaps:\n", "    if True:\n", (BAD_INPUT,)),
    ("a column the source lacks counts as empty", "if not number}", "if True}", (BAD_INPUT,)),
    ("a refused column is read as if it were not", "        raise refusal\n", "        pass\n", (BAD_INPUT,)),
)  # fmt: skip

_WINDOWS = of(
    "reconcile/raw_base.py",
    ("an equal position supersedes", "WHEN {there} > {here} THEN", "WHEN {there} >= {here} THEN", (RAW,)),
    ("older positions match", "WHEN {there} < {here} THEN {Outcome.STALE:d}",
     "WHEN {there} < {here} THEN {Outcome.MATCHED:d}", (RAW,)),
    ("deleted rows may stay", "WHEN l.deletes THEN {Outcome.UNEXPECTED:d}",
     "WHEN l.deletes THEN {Outcome.MATCHED:d}", (RAW,)),
    ("rows that are missing are old", "WHEN c.n IS NULL THEN {Outcome.MISSING:d}",
     "WHEN c.n IS NULL THEN {Outcome.AGED:d}", (RAW,)),
) + of(
    "reconcile/fold.py",
    ("the first event of a key counts", "ORDER BY e.generation DESC, e.position DESC",
     "ORDER BY e.generation, e.position", (RAW,)),
    ("superseded generations count", "AND e.generation >= {completed}", "", (RAW,)),
) + of(
    "reconcile/open_points.py",
    ("quarantined files ignored", "    if events.quarantined_files:\n", "    if False:\n", (RAW,)),
    ("quarantined rows ignored", "    if held:\n", "    if False:\n", (RAW,)),
    ("rows without a key ignored", "    if events.keyless_rows:\n", "    if False:\n", (RAW,)),
    ("files that cannot be read ignored", "    if events.unreadable:\n", "    if False:\n", (RAW,)),
)  # fmt: skip

_AS_OF = of(
    "reconcile/as_of.py",
    ("a change at the position is later", "{known} AND {_ordered(position)} > {",
     "{known} AND {_ordered(position)} >= {", (AS_OF,)),
    ("later changes ignored", "{known} AND {_ordered(position)} > {", "false AND {_ordered(position)} > {",
     (AS_OF,)),
    ("any load is earlier", "one is not None and one <= limit for one in found", "True for one in found",
     (AS_OF,)),
)  # fmt: skip

_REPAIRS = of(
    "repair/guards.py",
    ("deletes beyond what was verified", "    if seen.unverified:\n", "    if False:\n",
     (REPAIR_ALTERED,)),
    ("deletes where the whole was not compared", "    if seen.incomplete:\n", "    if False:\n",
     (REPAIR, REPAIR_WHOLE)),
    ("deletes where the source gave nothing", "    if not seen.source_rows:\n", "    if False:\n", (REPAIR,)),
    ("a repair without a place let through", "return not seen.no_place,", "return True,", (REPAIR_GUARDS,)),
    ("a repair below what base knows let through",
     "seen.highest is not None and seen.highest >= seen.place", "False", (REPAIR_GUARDS,)),
    ("a repair at the place of what base knows let through", "seen.highest >= seen.place",
     "seen.highest > seen.place", (REPAIR_GUARDS,)),
    ("any number of rows let through", "return seen.keys <= limits.max_rows, told", "return True, told",
     (REPAIR_GUARDS,)),
    ("as many rows as allowed refused", "seen.keys <= limits.max_rows", "seen.keys < limits.max_rows",
     (REPAIR_GUARDS,)),
    ("any share let through", "return share <= limits.max_share,", "return True,", (REPAIR_GUARDS,)),
    ("the share that is allowed refused", "share <= limits.max_share", "share < limits.max_share",
     (REPAIR_GUARDS,)),
    ("the share counts one row too late", "if whole < limits.share_from", "if whole <= limits.share_from",
     (REPAIR_GUARDS,)),
    ("the share of a window not weighed", "*(() if seen.is_whole else (of_window,)),\n", "",
     (REPAIR_GUARDS,)),
    ("the share of a window weighed after a whole run", "() if seen.is_whole else (of_window,)",
     "(of_window,)", (REPAIR_GUARDS,)),
    ("the share of the table is of the window", "_share(seen.keys, seen.base_rows,",
     "_share(seen.keys, seen.compared,", (REPAIR_GUARDS,)),
) + of(
    "repair/images.py",
    ("a spelling deleted though the source's row is not written",
     "_remove(con, _not_replaced(judged))", '_remove(con, "false")', (REPAIR_OWN_TEXT,)),
    ("a key written otherwise left beside the source's", "CASE WHEN outcome <> {Outcome.SPELLED:d} THEN",
     "CASE WHEN true THEN", (REPAIR_OWN_TEXT,)),
) + of(
    "repair/judge.py",
    ("keys a run left undecided forgotten",
     '["comparisons"][0]["keys"]["unverified"]', '["confirmed_keys"] * 0',
     (REPAIR_WHOLE,)),
    ("the source's spelling not asked for", "    if _add_spellings(con, plan):\n", "    if False:\n",
     (REPAIR_OWN_TEXT,)),
    ("rows of other keys let rows be deleted", "source_outcomes WHERE source_copies > 0", "source_rows",
     (f"{REPAIR_OWN_TEXT}::test_h4_rows_under_keys_written_otherwise_are_none_that_let_others_be_deleted",)),
)  # fmt: skip

ROW_MUTANTS: tuple[Mutant, ...] = (
    *_VERDICTS,
    *_IN_FLIGHT,
    *_REACHED,
    *_RESULTS,
    *_ROWS,
    *_REFUSED,
    *_READERS,
    *_WINDOWS,
    *_AS_OF,
    *_REPAIRS,
)
