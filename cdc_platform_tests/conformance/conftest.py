"""One lake and one JVM for all conformance tests."""

from __future__ import annotations

import gc
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cdc_platform.lake.catalog import Lake, open_lake
from cdc_platform_tests.lake.conftest import lake_config


@pytest.fixture(scope="package")
def shared_lake() -> Iterator[Lake]:
    """A lake that Spark shares."""
    with (
        tempfile.TemporaryDirectory(prefix="cdc-conformance-") as folder,
        open_lake(lake_config(Path(folder))) as lake,
    ):
        yield lake


@pytest.fixture(scope="package")
def spark(shared_lake: Lake) -> Iterator[Any]:
    """A Spark session over the shared lake's catalog."""
    from cdc_platform.spark.session import spark_session, stop_session

    session = spark_session(shared_lake.config)
    yield session
    with warnings.catch_warnings():
        # py4j lets go of its sockets by garbage collection only: collected here, they trouble no other test.
        warnings.simplefilter("ignore", ResourceWarning)
        stop_session(session)
        del session
        gc.collect()
