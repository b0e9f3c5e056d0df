"""Take the pictures of the report's pages in ``docs/images``, of a fleet with differences made on purpose.

    .venv/bin/python -m cdc_platform_tests.browser.report_pictures

It starts a PostgreSQL of its own. Needs Chromium. ``pages FOLDER`` takes them of pages that are there.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from cdc_platform.fleet.writing import write_reports
from cdc_platform.local.postgres import EmbeddedPostgres
from cdc_platform_tests.browser.chromium import Browser
from cdc_platform_tests.fleet.conftest import put_into
from cdc_platform_tests.fleet.seeded import seeded
from cdc_platform_tests.shell.running import ROOT

IMAGES = ROOT / "docs" / "images"
#: File → page, width and height, what it shows.
PICTURES = {
    "fleet": ("index.html", 1440, 720, "as of"),
    "table-report": ("retail/productorder.html", 1180, 1500, "What was not checked"),
}


def take_pictures(pages: Path, images: Path = IMAGES) -> None:
    """Write a PNG of each page."""
    for name, (page, width, height, text) in PICTURES.items():
        with Browser(width=width, height=height) as browser:
            browser.prefer("light")
            browser.open((pages / page).as_uri())
            browser.wait_for(text)
            browser.screenshot(images / f"{name}.png")


def main() -> None:
    """Seed a fleet, write its pages, take their pictures."""
    with tempfile.TemporaryDirectory(prefix="cdc-pictures-") as made:
        folder = Path(made)
        with EmbeddedPostgres(folder / "server", durable=False) as server:
            fleet = seeded(folder / "lake", server.create_database("fleet"))
            pages = folder / "pages"
            tables = list(fleet.platform.tables())
            write_reports(fleet.platform, tables, lambda path, data: put_into(pages, path, data))
        take_pictures(pages)


if __name__ == "__main__":
    take_pictures(Path(sys.argv[2])) if sys.argv[1:2] == ["pages"] else main()
