"""Faults to plant in the reconciliation: each is a small change of a module, and a test must see it."""

from __future__ import annotations

from dataclasses import dataclass

DIGEST = "reconcile/test_digest.py"
PROOFS = "reconcile/test_digest_proofs.py"
SEGMENTS = "reconcile/test_segments.py"
ORACLE = "reconcile/test_full_against_an_oracle.py"
FULL = "reconcile/test_full.py"
BAD_INPUT = "reconcile/test_full_bad_input.py"
RAW = "reconcile/test_raw_base.py"
SOURCE = "reconcile/test_source_base.py"
VERDICT = "reconcile/test_verdict.py"
WINDOW = "reconcile/test_window.py"
AS_OF = "reconcile/test_as_of.py"
COPY = "reconcile/test_postgres_copy.py"
JUDGED = "reconcile/test_segment_verdicts.py"
SESSIONS = "reconcile/test_sessions.py"
RESUMED = "reconcile/test_interrupted.py"
KEYS = "reconcile/test_keys_and_versions.py"
REPAIR = "repair/test_repair.py"
REPAIR_WHOLE = "repair/test_repair_whole.py"


@dataclass(frozen=True)
class Mutant:
    """``old``, which stands once in ``module``, becomes ``new``; one of ``tests`` must fail then."""

    name: str
    module: str
    old: str
    new: str
    tests: tuple[str, ...]


def _of(module: str, *mutants: tuple[str, str, str, tuple[str, ...]]) -> tuple[Mutant, ...]:
    return tuple(Mutant(name, module, old, new, tests) for name, old, new, tests in mutants)


_DIGESTS = _of(
    "reconcile/digest.py",
    ("XOR in place of sums", "sum({first}) AS lane1, sum({second}) AS lane2",
     "bit_xor({first}) AS lane1, bit_xor({second}) AS lane2", (DIGEST,)),
    ("sums modulo 2^64", "sum({first}) AS lane1", "sum({first}) % 18446744073709551616 AS lane1", (DIGEST,)),
    ("no count of rows", "count(*) AS n", "0 AS n", (DIGEST, ORACLE)),
    ("no null mask", "*self._narrow(typed), _nulls(typed))", "*self._narrow(typed))", (DIGEST, PROOFS)),
    ("texts in one lane only", "(*self._wide(typed), *self._narrow(typed)", "(*self._narrow(typed)",
     (PROOFS,)),
    ("numbers in one lane only", "*self._narrow(typed), _nulls", "_nulls", (PROOFS,)),
    ("bytes in one lane only", "if texts else hashes", "if texts else []", (PROOFS,)),
    ("lanes without a secret", 'return f"{self.salt.number(name)}::UBIGINT"', 'return "0::UBIGINT"',
     (PROOFS,)),
    ("texts not kept apart", 'sql_text(self.salt.text("before"))', 'sql_text("")', (PROOFS,)),
    ("the last column left out", "hash({', '.join(typed)})", "hash({', '.join(typed[:-1] or typed)})",
     (PROOFS,)),
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

_SEGMENTS = _of(
    "reconcile/segments.py",
    ("a bound belongs below", 'return f"{key} < {literal}"', 'return f"{key} <= {literal}"', (SEGMENTS,)),
    ("only the first key column", 'return f"{key} < {literal} OR ({key} = {literal} AND ('
     '{self._below(keys, bound, place + 1)}))"', 'return f"{key} < {literal}"', (SEGMENTS, ORACLE)),
    ("the lowest key of a segment left out", 'f"({keys[0]}) >= {', 'f"({keys[0]}) > {', (SEGMENTS, ORACLE)),
    ("the highest key of a segment left out", 'f"({keys[0]}) <= {', 'f"({keys[0]}) < {', (SEGMENTS, ORACLE)),
    ("rows with NULL keys in the last segment", "WHEN {unknown} THEN {self.keyless} ELSE",
     "WHEN {unknown} THEN {self.ranges - 1} ELSE", (SEGMENTS, JUDGED)),
    ("rows with NULL keys skipped", "WHEN {unknown} THEN {self.keyless} ELSE",
     "WHEN {unknown} THEN NULL ELSE", (JUDGED,)),
)  # fmt: skip

_SIDES = _of(
    "reconcile/sides.py",
    ("deletes kept as rows count", "b WHERE {self.view.live_condition}", "b WHERE true", (FULL,)),
    ("values compared in base's type", "common_type(column.arrow, held[column.column]) or column.arrow",
     "held[column.column]", (JUDGED,)),
)  # fmt: skip

_SCAN = _of(
    "reconcile/scan.py",
    ("counts not compared", "self.source[number] == self.base.get(number, EMPTY)",
     "self.source[number][1:] == self.base.get(number, EMPTY)[1:]", (JUDGED,)),
    ("one lane compared", "self.source[number] == self.base.get(number, EMPTY)",
     "self.source[number][:2] == self.base.get(number, EMPTY)[:2]", (JUDGED,)),
    ("misplaced keys accepted", "if number is not None and set(found) - {number}:", "if False:", (JUDGED,)),
    ("budget ignored", "if (reason := spending.exhausted()) is not None:", "if False:", (FULL,)),
    ("what was not read matches", "stopped = (Verdict.UNVERIFIED, reason)",
     'stopped = (Verdict.MATCH, reason := "x")', (FULL,)),
    ("a failed read matches", "return Verdict.ERROR, str(error)\n    if number",
     "return Verdict.MATCH, str(error)\n    if number", (BAD_INPUT,)),
    ("a segment the source lacks is taken from base", "found.get(one, EMPTY) for one in wanted",
     "found.get(one, scan.base.get(one, EMPTY)) for one in wanted", (FULL, ORACLE)),
)  # fmt: skip

_DRILL = _of(
    "reconcile/drill.py",
    ("differences as sets", "(({source}) EXCEPT ALL ({base})) UNION ALL (({base}) EXCEPT ALL ({source}))",
     "(({source}) EXCEPT ({base})) UNION ALL (({base}) EXCEPT ({source}))", (ORACLE,)),
    ("what only base has is no suspect", " UNION ALL (({base}) EXCEPT ALL ({source}))", "", (ORACLE,)),
    ("what only the source has is no suspect", "(({source}) EXCEPT ALL ({base})) UNION ALL ", "", (ORACLE,)),
    ("suspects beyond the bound forgotten", "return dict(beyond)", "return {}", (JUDGED,)),
    ("before images ignored", "        names.append(before)\n", "        pass\n", (JUDGED,)),
    ("a waiting file nobody can read ignored",
     "            # A file nobody can read may hold any key.\n            untold += 1", "            pass",
     (JUDGED,)),
    ("waiting files beyond the bound ignored", "untold = max(0, len(files) - MOST_FILES_READ)", "untold = 0",
     (JUDGED,)),
)  # fmt: skip

_RUN = _of(
    "reconcile/full_run.py",
    ("the last segment skipped", "everything = range(sides.segments.ranges + 1)\n",
     "everything = range(sides.segments.ranges - 1)\n", (FULL,)),
    ("segments without a key not judged", "for number in range(sides.segments.ranges + 1)\n        )",
     "for number in range(sides.segments.ranges)\n        )", (JUDGED,)),
    ("every segment read is carried on", "            if equal:\n", "            if True:\n", (RESUMED,)),
    ("in flight ignored", "count_changed(self.workspace, sides, has_suspects=has_suspects)", "{}", (FULL,)),
    ("systemic differences drilled as all", "is_systemic = len(numbers) < len(differing)",
     "is_systemic = False", (FULL,)),
    ("the second read reads the first snapshot", "held = HeldReader(self.reader, [snapshot])",
     "held = HeldReader(self.reader, [snapshot, snapshot])", (JUDGED,)),
)  # fmt: skip

_SEGMENT_RESULTS = _of(
    "reconcile/segment_results.py",
    ("segments not drilled match", "tally = _tally(Verdict.UNVERIFIED, 0, in_flight=changed, "
     "undecided=max(1, rows - changed))", "tally = _tally(Verdict.MATCH, rows)", (FULL,)),
    ("unequal digests without a row match", "return _tally(Verdict.ERROR, 0, undecided=",
     "return _tally(Verdict.MATCH, 0, undecided=", (JUDGED,)),
    ("counts no key explains match", "return _tally(Verdict.UNVERIFIED, matched, undecided=",
     "return _tally(Verdict.MATCH, matched, undecided=", (JUDGED,)),
    ("keys on their way match", "_tally(Verdict.MATCH, source_rows, in_flight=changed)",
     "_tally(Verdict.MATCH, source_rows)", (FULL,)),
    ("rows without a key match", "tally = _tally(verdict, 0, undecided=max(source_rows, base_rows))\n",
     "tally = _tally(Verdict.MATCH, source_rows)\n", (JUDGED,)),
    ("suspects not looked up match", "unverified=tally.unverified + beyond + counts.later",
     "unverified=tally.unverified + counts.later", (JUDGED,)),
    ("keys changed since an export match", "unverified=tally.unverified + beyond + counts.later",
     "unverified=tally.unverified + beyond", (AS_OF,)),
)  # fmt: skip

_VERDICTS = _of(
    "reconcile/verdict.py",
    ("ERROR as MATCH in the fold", "Verdict.ERROR: 3,", "Verdict.ERROR: 0,", (VERDICT,)),
    ("UNVERIFIED as MATCH in the fold", "Verdict.UNVERIFIED: 2,", "Verdict.UNVERIFIED: 0,", (VERDICT,)),
    ("IN_FLIGHT as MATCH in the fold", "Verdict.IN_FLIGHT: 1,", "Verdict.IN_FLIGHT: 0,", (VERDICT,)),
    ("nothing at all matches", "default=Verdict.UNVERIFIED)", "default=Verdict.MATCH)", (VERDICT,)),
    ("an unverified remainder ignored", "        if self.unverified:\n", "        if False:\n", (VERDICT,)),
)  # fmt: skip

_IN_FLIGHT = _of(
    "reconcile/in_flight.py",
    ("captured > L demanded", "if captured < read:", "if captured <= read:", (VERDICT, SOURCE)),
    ("capture behind is different", "if captured < read:", "if False:", (VERDICT, SOURCE)),
    ("files on the way ignored", "    if capture.unaccepted:\n", "    if False:\n", (VERDICT, WINDOW)),
    ("no position counts as caught up", "Verdict.UNVERIFIED, \"capture's position is not known",
     "Verdict.DIFFERENT, \"capture's position is not known", (VERDICT, FULL)),
    ("another server's log believed", "if now is not None and captured > now:", "if False:", (VERDICT,)),
)  # fmt: skip

_RESULTS = _of(
    "reconcile/full_result.py",
    ("weak digests prove", "if sides.digest.bits < DIGEST_BITS:", "if False:", (JUDGED,)),
    ("files that may change any key ignored", " + [verdict for verdict, _ in points]", "", (FULL,)),
) + _of(
    "reconcile/full_state.py",
    ("progress of other conditions holds",
     'if stored["conditions"].get(name) != conditions[name]]', "if False]", (RESUMED, FULL)),
    ("rules of another version hold", '        "type_rules_version": "the type rules changed",\n', "",
     (RESUMED,)),
    ("digests of another version hold", '        "digest": "the digest changed",\n', "", (RESUMED,)),
    ("other columns hold", '        "columns": "the compared columns changed",\n', "", (RESUMED,)),
    ("another segment is skipped", "equal = {int(number): Carried", "equal = {int(number) + 1: Carried",
     (RESUMED,)),
)  # fmt: skip

_ROWS = _of(
    "reconcile/source_base.py",
    ("no second read of suspects", "    _confirm(connection, reader, plan, judgement)\n", "", (SOURCE,)),
    ("doubled rows of base match", "WHEN ob.n > 1 THEN {Outcome.DUPLICATE:d}", "WHEN false THEN 0",
     (SOURCE, FULL)),
    ("doubled rows of the source match", "WHEN os.n > 1 THEN {Outcome.AMBIGUOUS:d}", "WHEN false THEN 0",
     (SOURCE,)),
    ("missing and unexpected exchanged", "WHEN ob.n IS NULL THEN {Outcome.MISSING:d}",
     "WHEN ob.n IS NULL THEN {Outcome.UNEXPECTED:d}", (SOURCE, FULL)),
    ("keys on their way judged", "a.key_id IS NOT NULL AS awaited", "false AS awaited", (SOURCE, FULL)),
    ("what moved is different", "SET moved = true", "SET moved = false", (SOURCE,)),
    ("rules hide everything", "AND NOT coalesce({column.also", "AND NOT coalesce(true OR {column.also",
     (SOURCE,)),
) + _of(
    "reconcile/typed.py",
    ("NULL equals everything", 'return f"{left} IS DISTINCT FROM {right}"', 'return f"{left} <> {right}"',
     (RAW,)),
    ("doubles compared as floats", "return pa.float64()\n    if pa.types.is_signed",
     "return pa.float32()\n    if pa.types.is_signed", (VERDICT,)),
)  # fmt: skip

_READERS = _of(
    "reconcile/postgres_copy.py",
    ("a stream without an end is whole", "    if not is_whole:\n", "    if False:\n", (SESSIONS,)),
    ("ranges closed above", '(">=", low), ("<", high)', '(">=", low), ("<=", high)', (COPY,)),
    ("ranges open below", '(">=", low), ("<", high)', '(">", low), ("<", high)', (COPY,)),
    ("an error at the end of a stream ignored", "if result.status != ExecStatus.COMMAND_OK:", "if False:",
     (SESSIONS, COPY)),
) + _of(
    "reconcile/postgres.py",
    ("settings not checked", "if row is None or row[0] != value:", "if False:", (SESSIONS,)),
    ("settings not pinned", "        for name, value in pins.items():\n", "        for name, value in ():\n",
     (SESSIONS,)),
    ("row security ignored", "    if described.hides_rows:\n", "    if False:\n", (BAD_INPUT,)),
    ("columns nobody may read left out", "        if not column.readable:\n",
     "        if not column.readable:\n            continue\n        if False:\n", (BAD_INPUT,)),
) + _of(
    "reconcile/postgres_types.py",
    ("every text is padded", 'return _plan(column, "{}::text", pa.string())\n',
     'return _plan(column, "rtrim({}::text)", pa.string(), base="rtrim({})")\n', (SOURCE,)),
) + _of(
    "reconcile/postgres_numeric.py",
    ("no sign", "np.where(sign == _NEGATIVE, -total, total)", "total", (COPY,)),
) + _of(
    "reconcile/keys_and_versions.py",
    ("columns not read count as covered",
     "excluded=(*plan.excluded, *(Excluded(name, reason) for name in left)),", "", (KEYS,)),
)  # fmt: skip

_WINDOWS = _of(
    "reconcile/raw_base.py",
    ("an equal position supersedes", "WHEN {there} > {here} THEN", "WHEN {there} >= {here} THEN", (RAW,)),
    ("older positions match", "WHEN {there} < {here} THEN {Outcome.STALE:d}",
     "WHEN {there} < {here} THEN {Outcome.MATCHED:d}", (RAW,)),
    ("deleted rows may stay", "WHEN l.deletes THEN {Outcome.UNEXPECTED:d}",
     "WHEN l.deletes THEN {Outcome.MATCHED:d}", (RAW,)),
    ("rows that are missing are old", "WHEN c.n IS NULL THEN {Outcome.MISSING:d}",
     "WHEN c.n IS NULL THEN {Outcome.AGED:d}", (RAW,)),
) + _of(
    "reconcile/fold.py",
    ("the first event of a key counts", "ORDER BY e.generation DESC, e.position DESC",
     "ORDER BY e.generation, e.position", (RAW,)),
    ("superseded generations count", "AND e.generation >= {completed}", "", (RAW,)),
) + _of(
    "reconcile/open_points.py",
    ("quarantined files ignored", "    if events.quarantined_files:\n", "    if False:\n", (RAW,)),
    ("quarantined rows ignored", "    if held:\n", "    if False:\n", (RAW,)),
    ("rows without a key ignored", "    if events.keyless_rows:\n", "    if False:\n", (RAW,)),
    ("files that cannot be read ignored", "    if events.unreadable:\n", "    if False:\n", (RAW,)),
)  # fmt: skip

_AS_OF = _of(
    "reconcile/as_of.py",
    ("a change at the position is later", "{known} AND {_ordered(position)} > {",
     "{known} AND {_ordered(position)} >= {", (AS_OF,)),
    ("later changes ignored", "{known} AND {_ordered(position)} > {", "false AND {_ordered(position)} > {",
     (AS_OF,)),
    ("any load is earlier", "one is not None and one <= limit for one in found", "True for one in found",
     (AS_OF,)),
)  # fmt: skip

_REPAIRS = _of(
    "repair/guards.py",
    ("deletes beyond what was verified", "    if seen.unverified:\n", "    if False:\n",
     (REPAIR, REPAIR_WHOLE)),
    ("deletes where the whole was not compared", "    if seen.incomplete:\n", "    if False:\n",
     (REPAIR, REPAIR_WHOLE)),
    ("deletes where the source gave nothing", "    if not seen.source_rows:\n", "    if False:\n", (REPAIR,)),
)  # fmt: skip

MUTANTS: tuple[Mutant, ...] = (
    *_DIGESTS,
    *_SEGMENTS,
    *_SIDES,
    *_SCAN,
    *_DRILL,
    *_RUN,
    *_SEGMENT_RESULTS,
    *_VERDICTS,
    *_IN_FLIGHT,
    *_RESULTS,
    *_ROWS,
    *_READERS,
    *_WINDOWS,
    *_AS_OF,
    *_REPAIRS,
)
