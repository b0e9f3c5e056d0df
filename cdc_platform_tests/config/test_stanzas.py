"""Stanzas are added to cdc.yaml without touching what people wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdc_platform.config.load import load_config
from cdc_platform.config.model import ColumnConfig, TableConfig
from cdc_platform.config.stanzas import write_stanzas
from cdc_platform.errors import ConfigError

HEAD = """\
version: 1   # the only one there is
sources:
  retail:
    raw: {location: raw}   # written by DMS
    window: {start: 2026-01-01}
"""
FILE = (
    HEAD
    + """\
    tables:
      # the first table
      - name: public.product
        merge_key: [product_id]   # the primary key
      # the end of retail

  other:   # a second source
    raw: {location: other}
    window: {start: 2026-01-01}
"""
)
FOUND = TableConfig(name="public.store", merge_key=("store_id",), active=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "cdc.yaml"
    path.write_text(FILE)
    return path


def names(file: Path) -> list[str]:
    return [table.name for table in load_config(file).sources["retail"].tables]


def test_a_stanza_is_added_behind_the_last_table(file: Path) -> None:
    assert 1 == write_stanzas(file, "retail", [FOUND])

    assert ["public.product", "public.store"] == names(file)


def test_every_line_of_the_file_stays(file: Path) -> None:
    write_stanzas(file, "retail", [FOUND])

    kept = [line for line in file.read_text().splitlines() if line in FILE.splitlines()]
    assert FILE.splitlines() == kept


def test_an_added_table_reads_back_as_it_was_given(file: Path) -> None:
    columns = (
        ColumnConfig(name="store_id", type="int", nullable=False),
        ColumnConfig(name="n", type="string"),
    )
    found = FOUND.model_copy(update={"columns": columns, "id": "shops"})

    write_stanzas(file, "retail", [found])

    assert found == load_config(file).sources["retail"].tables[1]


def test_a_table_that_is_there_already_is_not_added_again(file: Path) -> None:
    write_stanzas(file, "retail", [FOUND])
    before = file.read_text()

    assert 0 == write_stanzas(file, "retail", [FOUND])
    assert before == file.read_text()


def test_a_source_in_the_middle_of_the_file_without_a_list_gets_one(file: Path) -> None:
    file.write_text(HEAD + "  other:\n    raw: {location: x}\n    window: {start: 2026-01-01}\n")

    write_stanzas(file, "retail", [FOUND])

    assert ["public.store"] == names(file)
    assert load_config(file).sources["other"].tables == ()


@pytest.mark.parametrize("empty", ["    tables: []   # none yet\n", "    tables:\n", "    tables: null\n"])
def test_an_empty_list_is_filled(file: Path, empty: str) -> None:
    file.write_text(HEAD + empty)

    write_stanzas(file, "retail", [FOUND])

    assert ["public.store"] == names(file)


def test_a_list_in_brackets_is_refused_and_left_as_it_is(file: Path) -> None:
    text = HEAD + "    tables: [{name: public.product, merge_key: [product_id]}]\n"
    file.write_text(text)

    with pytest.raises(ConfigError, match="rewrite it as a block"):
        write_stanzas(file, "retail", [FOUND])
    assert text == file.read_text()


def test_an_unknown_source_is_refused(file: Path) -> None:
    with pytest.raises(ConfigError, match="no such source"):
        write_stanzas(file, "retial", [FOUND])
