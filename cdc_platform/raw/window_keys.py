"""The windows a table was taken in by, held against the length of window that is configured.

Each file belongs to the window it was accepted into. By windows of another length it would be looked for,
and accepted, in another one, so the length is settled with the first file.
"""

from __future__ import annotations

from collections.abc import Iterable

from cdc_platform.config.model import WindowOptions
from cdc_platform.errors import ConfigError


def check_lengths(windows: Iterable[str], options: WindowOptions, *, source: str, table_id: str) -> None:
    """Raise ConfigError unless all ``windows`` are of the length that ``options`` say."""
    other = next((window for window in windows if not options.is_key(window)), None)
    if other is None:
        return
    before = "hourly" if options.every == "daily" else "daily"
    what = f"is {options.every}, but files of {table_id} were taken in by {before} windows, as {other}"
    mend = (
        f"set it back to {before}; to have {options.every} windows, take the source's files in anew, "
        "into another lake.warehouse"
    )
    raise ConfigError("cdc.yaml", [(f"sources.{source}.window.every", what, mend)])
