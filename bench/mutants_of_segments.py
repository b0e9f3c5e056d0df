"""Faults in digests, segments, reading and judging them."""

from __future__ import annotations

from bench.mutant import (
    AS_OF,
    BAD_INPUT,
    DIGEST,
    FULL,
    JUDGED,
    KEPT,
    MARKS,
    ORACLE,
    PROOFS,
    RESUMED,
    SEGMENTS,
    Mutant,
    of,
)

_DIGESTS = of(
    "reconcile/digest.py",
    ("XOR in place of sums", "sum({first}) AS lane1, sum({second}) AS lane2",
     "bit_xor({first}) AS lane1, bit_xor({second}) AS lane2", (DIGEST,)),
    ("sums modulo 2^64", "sum({first}) AS lane1", "sum({first}) % 18446744073709551616 AS lane1", (DIGEST,)),
    ("no count of rows", "count(*) AS n", "0 AS n", (DIGEST, ORACLE)),
    ("no null mask", "*self._narrow(typed), *nulls]", "*self._narrow(typed)]", (DIGEST, PROOFS)),
    ("no null mask in lane 1", "[*typed, *nulls]", "typed", (DIGEST, PROOFS)),
    ("texts in one lane only", "[*self._wide(typed), *self._narrow(typed)", "[*self._narrow(typed)",
     (PROOFS,)),
    ("numbers in one lane only", "*self._narrow(typed), *nulls", "*nulls", (PROOFS,)),
    ("bytes in one lane only", "            for value, kind in wide\n",
     '            for value, kind in wide if kind != "BLOB"\n', (PROOFS,)),
    ("one type without a null mask", '"BIGINT", "DOUBLE", "TIMESTAMP",', '"BIGINT", "DOUBLE",', (DIGEST,)),
    ("lanes without a secret", 'return f"{self.salt.number(name)}::UBIGINT"', 'return "0::UBIGINT"',
     (PROOFS,)),
    ("texts without a salt", 'sql_text(self.salt.text("before"))', 'sql_text("")', (DIGEST, PROOFS)),
    ("long texts by the engine's hash alone", "hash(md5_number({salted}))", "hash({salted})", (DIGEST,)),
    ("the last column left out", "[*typed, *nulls]", "[*(typed[:-1] or typed), *nulls]", (PROOFS,)),
    ("one salt for ever", "secrets.token_bytes(32)", "bytes(32)", (DIGEST,)),
    ("no mixing after a column", 'return f"hash(xor({state}, {hashed}))"', 'return f"xor({state}, {hashed})"',
     (DIGEST, PROOFS)),
    ("text trimmed", '[f"({value})::{kind}" for', '[f"trim({value})::{kind}" if kind == "VARCHAR" '
     'else f"({value})::{kind}" for', (DIGEST,)),
    ("text without case", '[f"({value})::{kind}" for', '[f"lower({value})::{kind}" if kind == "VARCHAR" '
     'else f"({value})::{kind}" for', (DIGEST,)),
    ("NULL as an empty text", '[f"({value})::{kind}" for',
     """[f"coalesce({value}, '')::{kind}" if kind == "VARCHAR" else f"({value})::{kind}" for""", (DIGEST,)),
    ("decimals rounded", '[f"({value})::{kind}" for', '[f"round({value}, 1)::{kind}" if kind[:3] == "DEC" '
     'else f"({value})::{kind}" for', (DIGEST,)),
    ("doubles as floats", '[f"({value})::{kind}" for', '[f"({value})::FLOAT" if kind == "DOUBLE" '
     'else f"({value})::{kind}" for', (DIGEST,)),
    ("times to the second", '[f"({value})::{kind}" for',
     """[f"date_trunc('second', {value})::{kind}" if kind[:9] == "TIMESTAMP" else f"({value})::{kind}" for""",
     (DIGEST,)),
)  # fmt: skip

_SEGMENTS = of(
    "reconcile/segments.py",
    ("a bound belongs below", 'return f"{key} < {literal}"', 'return f"{key} <= {literal}"', (SEGMENTS,)),
    ("only the first key column", 'return f"{key} < {literal} OR ({key} = {literal} AND ('
     '{self._below(keys, bound, place + 1)}))"', 'return f"{key} < {literal}"', (SEGMENTS, ORACLE)),
    ("the lowest key of a segment left out", 'f"({keys[0]}) >= {', 'f"({keys[0]}) > {', (SEGMENTS, ORACLE)),
    ("the highest key of a segment left out", 'f"({keys[0]}) <= {', 'f"({keys[0]}) < {', (SEGMENTS, ORACLE)),
    ("a shift one segment off", "first // step - 1", "first // step", (SEGMENTS,)),
    ("keys beyond the grid in segments of others", "AND ({key}) < {beyond} THEN ({cell})::UTINYINT ",
     "THEN (({cell}) & 255)::UTINYINT ", (SEGMENTS,)),
    ("rows with NULL keys in the last segment of a grid", "ELSE {self.keyless}::UTINYINT END",
     "ELSE {last}::UTINYINT END", (SEGMENTS,)),
    ("a mark for each row in place of each key",
     "bit_count(bitstring_agg(({key})::BIGINT & {low}, 0::BIGINT, {low}::BIGINT))", "count({key})", (MARKS,)),
    ("rows with NULL keys in the last segment", "WHEN {unknown} THEN {self.keyless} ELSE",
     "WHEN {unknown} THEN {self.ranges - 1} ELSE", (SEGMENTS, JUDGED)),
    ("rows with NULL keys skipped", "WHEN {unknown} THEN {self.keyless} ELSE",
     "WHEN {unknown} THEN NULL ELSE", (JUDGED,)),
)  # fmt: skip

_SIDES = of(
    "reconcile/sides.py",
    ("deletes kept as rows count", "b WHERE {self.view.live_condition}", "b WHERE true",
     (f"{FULL}::test_a_soft_deleted_row_is_none",)),
    ("XOR in place of sums of pairs", "sum(lane1), sum(lane2), {marks} FROM",
     "bit_xor(lane1), bit_xor(lane2), {marks} FROM", (ORACLE, KEPT)),
    ("pairs not counted", "segment, count(*), sum(lane1)", "segment, 1, sum(lane1)", (JUDGED, KEPT)),
    ("values compared in base's type", "common_type(column.arrow, held[column.column]) or column.arrow",
     "held[column.column]", (JUDGED,)),
    ("rows beyond the pairs that are kept are not read", "rest = arriving.rest()", "rest = None", (KEPT,)),
    ("keys with any mark are distinct", "if n == marked}", "if marked}", (MARKS,)),
)  # fmt: skip

_SCAN = of(
    "reconcile/scan.py",
    ("keys of segments base has rows in are distinct", "- self.distinct -", "- set(self.base) -", (MARKS,)),
    ("counts not compared", "self.source[number] == self.base.get(number, EMPTY)",
     "self.source[number][1:] == self.base.get(number, EMPTY)[1:]", (JUDGED,)),
    ("one lane compared", "self.source[number] == self.base.get(number, EMPTY)",
     "self.source[number][:2] == self.base.get(number, EMPTY)[:2]", (JUDGED,)),
    ("misplaced keys accepted", "if number is not None and set(found) - {number}:", "if False:", (JUDGED,)),
    ("budget ignored", "if (reason := spending.exhausted()) is not None:", "if False:",
     (f"{FULL}::test_a_budget_of_no_time_proves_nothing",)),
    ("what was not read matches", "stopped = (Verdict.UNVERIFIED, reason)",
     'stopped = (Verdict.MATCH, reason := "x")',
     (f"{FULL}::test_a_budget_of_no_time_proves_nothing",)),
    ("a failed read matches", "return Verdict.ERROR, str(error)\n    if number",
     "return Verdict.MATCH, str(error)\n    if number",
     (f"{BAD_INPUT}::test_g2_a_connection_cut_on_the_way_leaves_the_rest_an_error_and_what_was_proven",)),
    ("pairs of an earlier comparison stay", '"CREATE OR REPLACE TEMP TABLE"',
     '"CREATE TEMP TABLE IF NOT EXISTS"', (KEPT,)),
    ("pairs of segments read again are thought kept", "return Kept(_ARRIVED, room) if scan.keeps",
     "return Kept(SOURCE_KEPT, room) if scan.keeps", (KEPT,)),
    ("a segment the source lacks is taken from base", "found.get(one, EMPTY) for one in wanted",
     "found.get(one, scan.base.get(one, EMPTY)) for one in wanted",
     (JUDGED,)),
)  # fmt: skip

_DRILL = of(
    "reconcile/drill.py",
    ("differences as sets", "SELECT {pair} FROM ({source} UNION ALL {base}) GROUP BY ALL",
     "SELECT {pair} FROM ({source} UNION {base}) GROUP BY ALL",
     (f"{ORACLE}::test_many_pairs_in_one_comparison_are_each_judged_as_the_oracle_does",)),
    ("what only base has is no suspect", "HAVING sum(weight) <> 0", "HAVING sum(weight) > 0",
     (f"{ORACLE}::test_many_pairs_in_one_comparison_are_each_judged_as_the_oracle_does",)),
    ("what only the source has is no suspect", "HAVING sum(weight) <> 0", "HAVING sum(weight) < 0",
     (f"{ORACLE}::test_many_pairs_in_one_comparison_are_each_judged_as_the_oracle_does",)),
    ("a pair is its key alone", 'pair = f"segment, {names}, lane1, lane2"', 'pair = f"segment, {names}"',
     (KEPT,)),
    ("pairs of other segments are taken, too", "numbers = differing\n    else",
     "numbers = differing[:1]\n    else", (KEPT,)),
    ("a sample is taken for all", "is_sample=len(numbers) < len(differing)", "is_sample=False", (KEPT,)),
    ("scattered differences without a bound", "<= MOST_SCATTERED", "<= 10**9", (KEPT,)),
    ("suspects beyond the bound forgotten", "return dict(beyond)", "return {}", (JUDGED,)),
    ("before images ignored", "        names.append(before)\n", "        pass\n", (JUDGED,)),
    ("a waiting file nobody can read ignored",
     "            # A file nobody can read may hold any key.\n            untold += 1", "            pass",
     (JUDGED,)),
    ("waiting files beyond the bound ignored", "untold = max(0, len(files) - MOST_FILES_READ)", "untold = 0",
     (JUDGED,)),
)  # fmt: skip

_RUN = of(
    "reconcile/full_run.py",
    ("the last segment skipped", "everything = range(sides.segments.ranges + 1)\n",
     "everything = range(sides.segments.ranges - 1)\n",
     (JUDGED,)),
    ("segments without a key not judged", "for n in range(sides.segments.ranges + 1))",
     "for n in range(sides.segments.ranges))", (JUDGED,)),
    ("every segment read is carried on", "if scan.equal(number):\n                    progress",
     "if True:\n                    progress",
     (RESUMED,)),
    ("in flight ignored", "count_changed(self.workspace, sides, has_suspects=has_suspects)", "{}",
     (f"{FULL}::test_keys_of_files_not_applied_are_in_flight_also_where_they_are_equal_now",)),
    ("the second read reads the first snapshot", "held = HeldReader(self.reader, [snapshot])",
     "held = HeldReader(self.reader, [snapshot, snapshot])", (JUDGED,)),
)  # fmt: skip

_SEGMENT_RESULTS = of(
    "reconcile/segment_results.py",
    ("segments not drilled match", "tally = _tally(Verdict.UNVERIFIED, 0, in_flight=changed, "
     "undecided=max(1, rows - changed))", "tally = _tally(Verdict.MATCH, rows)",
     (f"{FULL}::test_a_fault_of_the_whole_table_is_systemic_and_names_the_column",)),
    ("unequal digests without a row match", "return _tally(Verdict.ERROR, 0, undecided=",
     "return _tally(Verdict.MATCH, 0, undecided=", (JUDGED,)),
    ("counts no key explains match", "return _tally(Verdict.UNVERIFIED, matched, undecided=",
     "return _tally(Verdict.MATCH, matched, undecided=", (JUDGED,)),
    ("keys on their way match", "_tally(Verdict.MATCH, source_rows, in_flight=changed)",
     "_tally(Verdict.MATCH, source_rows)",
     (f"{FULL}::test_keys_of_files_not_applied_are_in_flight_also_where_they_are_equal_now",)),
    ("rows without a key match", "tally = _tally(verdict, 0, undecided=max(source_rows, base_rows))\n",
     "tally = _tally(Verdict.MATCH, source_rows)\n", (JUDGED,)),
    ("suspects not looked up match", "unverified=tally.unverified + beyond + counts.later",
     "unverified=tally.unverified + counts.later", (JUDGED,)),
    ("keys changed since an export match", "unverified=tally.unverified + beyond + counts.later",
     "unverified=tally.unverified + beyond", (AS_OF,)),
)  # fmt: skip

SEGMENT_MUTANTS: tuple[Mutant, ...] = (
    *_DIGESTS,
    *_SEGMENTS,
    *_SIDES,
    *_SCAN,
    *_DRILL,
    *_RUN,
    *_SEGMENT_RESULTS,
)
