"""Repair: rows that provably differ from the source are brought back by synthetic change events.

See ``docs/repair.md``. The order of things: :mod:`draft` judges and plans, :mod:`approve` writes the events,
:mod:`carry_out` merges and verifies them, :mod:`undo` takes them back.
"""
