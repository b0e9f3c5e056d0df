"""``cdc report`` as a person or a script runs it."""

from __future__ import annotations

from pathlib import Path

from cdc_platform_tests.cli.conftest import Cdc

WINDOW = "2024-05-31"


def test_the_pages_of_all_tables_and_of_each_are_written_into_a_folder(cdc: Cdc, project: Path) -> None:
    cdc("apply")
    cdc("reconcile")

    done = cdc("report")

    written = {
        path.relative_to(project / "cdc-report").as_posix() for path in project.glob("cdc-report/**/*.html")
    }
    assert (0, {"index.html", "shop/orders.html", f"shop/orders/{WINDOW}.html"}) == (done.code, written)
    assert "cdc-report/index.html" in done.out
    assert 'href="shop/orders.html"' in (project / "cdc-report/index.html").read_text()
    page = (project / "cdc-report/shop/orders.html").read_text()
    assert f'href="orders/{WINDOW}.html"' in page
    assert 'href="../index.html"' in page


def test_the_fleet_alone_is_one_file_without_links(cdc: Cdc, project: Path) -> None:
    done = cdc("report", "--out", "out/fleet.html")

    assert 0 == done.code
    assert ["fleet.html"] == [path.name for path in (project / "out").iterdir()]
    assert "href=" not in (project / "out/fleet.html").read_text()


def test_the_figures_are_json_and_nothing_is_written(cdc: Cdc, project: Path) -> None:
    cdc("apply")
    cdc("reconcile")
    before = sorted(project.iterdir())

    (found,) = cdc("report", "--json").json["tables"]

    assert before == sorted(project.iterdir())
    assert ("shop/orders", "UNVERIFIED", 1, 0, 3) == tuple(
        found[name] for name in ("table", "verdict", "windows", "windows_matched", "rows")
    )
    assert ("UNVERIFIED", WINDOW) == (found["last_run"]["verdict"], found["last_run"]["window"])


def test_a_table_that_was_never_merged_is_told_of(cdc: Cdc) -> None:
    (found,) = cdc("report", "--json").json["tables"]

    assert ("NEVER COMPARED", None, 0) == (found["verdict"], found["rows"], found["windows"])


def test_a_damaged_table_has_a_row_that_says_why_and_fails_the_command(cdc: Cdc, project: Path) -> None:
    cdc("apply")
    (record,) = (project / "warehouse/_cdc/shop/orders/windows").glob("*.json")
    record.write_text("{")

    done = cdc("report")

    assert 3 == done.code
    page = (project / "cdc-report/index.html").read_text()
    assert "UNREADABLE" in page
    assert "restore the object as it was" in page


def test_a_table_that_is_not_there_is_refused(cdc: Cdc) -> None:
    done = cdc("report", "nothing")

    assert 2 == done.code
    assert "there is no table 'nothing'" in done.err


def test_a_folder_that_cannot_be_written_is_refused_with_the_mend(cdc: Cdc, project: Path) -> None:
    (project / "taken").write_text("a file")

    done = cdc("report", "--out", "taken/report")

    assert 2 == done.code
    assert "cannot be written" in done.err
