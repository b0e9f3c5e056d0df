"""What commands say on the way."""

from __future__ import annotations

import pytest

from cdc_platform.cli import output


def test_progress_is_told_in_lines_where_there_is_no_terminal(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "TELL_EVERY_SECONDS", 0.0)
    with output.progress("merging", 2) as bar:
        bar.begin("merged shop/orders")
        bar.done()
    often = capfd.readouterr().err
    monkeypatch.setattr(output, "TELL_EVERY_SECONDS", 3600.0)
    with output.progress("merging", 2) as bar:
        bar.done()

    assert ["merged shop/orders (0 of 2)", "merged shop/orders (1 of 2)"] == often.splitlines()
    assert "" == capfd.readouterr().err


def test_what_was_done_is_counted_when_it_is_told(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "TELL_EVERY_SECONDS", 0.0)
    with output.progress("merging", 2) as bar:
        bar.ended("merged shop/orders")
        bar.ended("failed shop/items")

    assert [
        "merged shop/orders (1 of 2)",
        "failed shop/items (2 of 2)",
    ] == capfd.readouterr().err.splitlines()
