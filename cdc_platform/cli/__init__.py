"""The command ``cdc``: everything the platform does, without the UI, by the same functions.

Exit codes: 0 fine; 1 done, and differences or quarantined input were found; 2 wrong usage or configuration;
3 could not be done. A fault is one message on stderr; ``--debug`` anywhere shows its traceback.
"""

from cdc_platform.cli.app import main

__all__ = ["main"]
