"""Tests of pages in a real browser; where there is none they are not collected, for nothing can be said."""

from __future__ import annotations

from cdc_platform_tests.browser.chromium import find_chromium
from cdc_platform_tests.fleet.conftest import pages

__all__ = ["pages"]

collect_ignore = [] if find_chromium() else ["test_fleet_widths.py", "test_report_pages.py"]
