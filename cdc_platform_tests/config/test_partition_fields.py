"""Which partition fields `check-config` refuses."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from cdc_platform.config.model import TableConfig


@pytest.mark.parametrize(
    ("fields", "columns", "said"),
    [
        (["bucket(2, id)", "bucket(2, ID)"], {}, "divide a table alike"),
        (["day(at)", "year(at)"], {}, "divide a table alike"),
        (["bucket(0, id)"], {}, "the width of 'bucket(0, id)' is out of reach"),
        (["truncate(9999999999, id)"], {}, "is out of reach"),
        (["hour(at)"], {"at": "date"}, "'hour(at)' does not go with a column of type date"),
        (["price"], {"price": "double"}, "'price' does not go with a column of type double"),
        (["bucket(2, done)"], {"done": "boolean"}, "does not go with a column of type boolean"),
        (["truncate(2, At)"], {"at": "timestamptz"}, "does not go with a column of type timestamptz"),
        (["day(price)"], {"price": "decimal(8, 2)"}, "does not go with a column of type decimal(8, 2)"),
    ],
)
def test_partition_fields_that_no_table_can_have_are_mistakes(
    fields: list[str], columns: dict[str, str], said: str
) -> None:
    declared = [{"name": name, "type": kind} for name, kind in columns.items()]

    with pytest.raises(ValidationError, match=re.escape(said)):
        TableConfig(name="s.t", merge_key=("id",), partition_by=fields, columns=declared)


@pytest.mark.parametrize(
    ("fields", "columns"),
    [
        (["bucket(2, id)", "truncate(3, id)", "id"], {"id": "long"}),
        (["day(at)", "bucket(4, at)", "month(on)"], {"at": "timestamptz", "on": "date"}),
        (
            ["bucket(2, t)", "truncate(5, price)", "flag"],
            {"t": "time", "price": "decimal(8,2)", "flag": "boolean"},
        ),
        (["hour(at)"], {"at": "what?"}),
    ],
)
def test_partition_fields_that_a_table_can_have_are_none(fields: list[str], columns: dict[str, str]) -> None:
    declared = [{"name": name, "type": kind} for name, kind in columns.items()]

    assert (
        tuple(fields)
        == TableConfig(name="s.t", merge_key=("id",), partition_by=fields, columns=declared).partition_by
    )
