"""A configuration that replicates by the local DMS on a scripted engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cdc_platform.config.model import PlatformConfig
from cdc_platform.local.endpoint import DmsEndpoint
from cdc_platform_tests.local.conftest import LocalDms, dms_client_for
from cdc_platform_tests.local.scripted_engine import ScriptedEngine

Configure = Callable[..., PlatformConfig]


@pytest.fixture
def dms(tmp_path: Path) -> Iterator[LocalDms]:
    engine = ScriptedEngine()
    with DmsEndpoint(tmp_path / "dms", engine, tmp_path / "raw") as endpoint:
        client = dms_client_for(endpoint.url)
        yield LocalDms(client, engine, endpoint)
        client.close()


@pytest.fixture
def configure(tmp_path: Path) -> Configure:
    """Make a configuration of one source, ``retail``; arguments replace parts of the source."""

    def make(*, url: str | None = None, **changes: Any) -> PlatformConfig:
        source: dict[str, Any] = {
            "raw": {"location": "raw/lake/retail"},
            "window": {"start": "2026-01-01"},
            "connection": {"dsn": "postgresql://etl:s3cret@db.example:5433/shop?sslmode=require"},
            "dms": {"endpoint_url": url},
            "tables": [
                {"name": "public.product", "merge_key": ["product_id"]},
                {"name": "public.order_item", "merge_key": ["order_id", "line"]},
                {"name": "public.audit", "no_key": "append", "active": False},
            ],
        }
        return PlatformConfig.model_validate(
            {"sources": {"retail": source | changes}, "base_folder": tmp_path}
        )

    return make
