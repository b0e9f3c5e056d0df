"""An interruption that an error hides: Ctrl-C is no fault of what was being done.

During a query DuckDB answers to a signal with RuntimeError("Query interrupted"), raised from the
KeyboardInterrupt that it is. Whoever makes a verdict or a message of any error has to let that through.
"""

from __future__ import annotations


def interruption_of(error: BaseException) -> BaseException | None:
    """Return the interruption an error stands for, itself or one it was raised from; None for a fault.

    >>> interruption_of(ValueError("1")), interruption_of(KeyboardInterrupt())
    (None, KeyboardInterrupt())
    """
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        if not isinstance(at, Exception | GeneratorExit):
            return at
        seen.add(id(at))
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)
    return None


def let_through(error: BaseException) -> None:
    """Raise the interruption an error stands for; return where it is a fault."""
    interruption = interruption_of(error)
    if interruption is not None:
        raise interruption
