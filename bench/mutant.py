"""A fault to plant, and the tests one of which must see it."""

from __future__ import annotations

from dataclasses import dataclass

DIGEST = "reconcile/test_digest.py"
PROOFS = "reconcile/test_digest_proofs.py"
SEGMENTS = "reconcile/test_segments.py"
ORACLE = "reconcile/test_full_against_an_oracle.py"
FULL = "reconcile/test_full.py"
BAD_INPUT = "reconcile/test_full_bad_input.py"
RAW = "reconcile/test_raw_base.py"
REACH = "reconcile/test_window_reach.py"
SOURCE = "reconcile/test_source_base.py"
STANDBY = "reconcile/test_standby.py"
VERDICT = "reconcile/test_verdict.py"
WINDOW = "reconcile/test_window.py"
ALIGNED = "reconcile/test_aligned_rows.py"
AS_OF = "reconcile/test_as_of.py"
COPY = "reconcile/test_postgres_copy.py"
OWN_TEXT = "reconcile/test_own_text.py"
JUDGED = "reconcile/test_segment_verdicts.py"
KEPT = "reconcile/test_kept_pairs.py"
MARKS = "reconcile/test_key_marks.py"
SESSIONS = "reconcile/test_sessions.py"
RESUMED = "reconcile/test_interrupted.py"
KEYS = "reconcile/test_keys_and_versions.py"
REPAIR = "repair/test_repair.py"
REPAIR_GUARDS = "repair/test_guards.py"
REPAIR_ALTERED = "repair/test_altered_keys.py"
REPAIR_WHOLE = "repair/test_repair_whole.py"
REPAIR_OWN_TEXT = "repair/test_own_text.py"


@dataclass(frozen=True)
class Mutant:
    """``old``, which stands once in ``module``, becomes ``new``; one of ``tests`` must fail then."""

    name: str
    module: str
    old: str
    new: str
    tests: tuple[str, ...]


def of(module: str, *mutants: tuple[str, str, str, tuple[str, ...]]) -> tuple[Mutant, ...]:
    return tuple(Mutant(name, module, old, new, tests) for name, old, new, tests in mutants)
