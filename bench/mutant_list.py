"""Faults to plant in the reconciliation: each is a small change of a module, and a test must see it."""

from __future__ import annotations

from bench.mutant import Mutant
from bench.mutants_of_increments import INCREMENT_MUTANTS
from bench.mutants_of_rows import ROW_MUTANTS
from bench.mutants_of_segments import SEGMENT_MUTANTS
from bench.mutants_of_whole_rows import WHOLE_ROW_MUTANTS

MUTANTS: tuple[Mutant, ...] = (*SEGMENT_MUTANTS, *ROW_MUTANTS, *INCREMENT_MUTANTS, *WHOLE_ROW_MUTANTS)
