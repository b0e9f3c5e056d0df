"""Fixtures of the tests from files, or from a database, to base."""

from __future__ import annotations

from cdc_platform_tests.local.event_source import event_shop, task_client

#: pytest finds fixtures by their names in the conftest
__all__ = ["event_shop", "task_client"]
