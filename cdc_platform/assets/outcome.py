"""The one place where this package's errors become Dagster's: try again, or fail for good.

Whether to try again is a property of the error (``CdcError.retryable``), so no asset has a retry policy.
"""

import contextlib
from collections.abc import Iterator

import dagster as dg

from cdc_platform.errors import CdcError

MAX_RETRIES = 4
RETRY_SECONDS = 5.0


def as_dagster(error: CdcError) -> dg.Failure | dg.RetryRequested:
    """Return what to raise from a step for ``error``: RetryRequested when it is retryable, else Failure."""
    if error.retryable:
        return dg.RetryRequested(max_retries=MAX_RETRIES, seconds_to_wait=RETRY_SECONDS)
    # ConfigError lists several mistakes and has no single place or mend
    parts = {name: str(getattr(error, name, "")) for name in ("where", "mend")}
    metadata = {"error": type(error).__name__, **{name: text for name, text in parts.items() if text}}
    return dg.Failure(description=str(error), metadata=metadata, allow_retries=False)


@contextlib.contextmanager
def dagster_outcome(
    context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext | dg.OpExecutionContext,
) -> Iterator[None]:
    """Run a step's work; let this package's errors end it the way Dagster shows and retries them."""
    try:
        yield
    except CdcError as error:
        context.log.error(str(error))
        raise as_dagster(error) from error
