"""Table mappings and positions: what is understood, and what is refused with which words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from cdc_platform.errors import LocalServiceError
from cdc_platform.local.engine.lsn import (
    checkpoint_text,
    parse_lsn,
    parse_start_position,
    parse_stop_position,
)
from cdc_platform.local.engine.mappings import TableMappings
from cdc_platform.local.engine.rules import parse_rule
from cdc_platform.lsn import lsn_text
from cdc_platform_tests.local.task_bench import SELECT_ALL, added_column, before_images


def _transformation(target: str, action: str, **more: object) -> dict[str, Any]:
    return {
        "rule-type": "transformation",
        "rule-id": "7",
        "rule-name": "seventh",
        "rule-target": target,
        "rule-action": action,
        "object-locator": {"schema-name": "%", "table-name": "%"},
        **more,
    }


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            {"rule-type": "table-settings", "rule-name": "seventh"},
            "rule-type 'table-settings' is not supported",
        ),
        (SELECT_ALL | {"filters": [{"filter-type": "source"}]}, "filters are not supported"),
        (SELECT_ALL | {"rule-action": "explicit"}, "an explicit rule has a wildcard"),
        (SELECT_ALL | {"rule-action": "maybe"}, "rule-action 'maybe' is not one of a selection"),
        (SELECT_ALL | {"object-locator": {}}, "object-locator has no schema-name"),
        (_transformation("column", "change-data-type"), "rule-action 'change-data-type' on a column"),
        (_transformation("tablespace", "rename"), "rule-target 'tablespace' is not supported"),
        (added_column("x", "$ID || 'a'", 7), "expression .* is not supported"),
        (added_column("x", "$AR_H_USER", 7), "expression '.AR_H_USER' is not supported"),
        (added_column("x", "'a'", 7, type="uuid"), "data-type 'uuid' is not supported"),
        (added_column("", "'a'", 7), "add-column has no value"),
        (before_images("some"), "column-filter 'some' is not known"),
    ],
)
def test_a_rule_that_is_not_done_is_refused_by_name(rule: dict[str, Any], message: str) -> None:
    with pytest.raises(LocalServiceError, match=message) as caught:
        parse_rule(rule)
    assert "table mappings, rule" in str(caught.value)
    assert " → " in str(caught.value)


@pytest.mark.parametrize(
    ("action", "more", "name"),
    [
        ("rename", {"value": "new"}, "new"),
        ("add-prefix", {"value": "a_"}, "a_T1_x"),
        ("add-suffix", {"value": "_z"}, "T1_x_z"),
        ("remove-prefix", {"value": "T1"}, "_x"),
        ("remove-suffix", {"value": "_x"}, "T1"),
        ("replace-prefix", {"value": "B", "old-value": "T1"}, "B_x"),
        ("replace-suffix", {"value": "y", "old-value": "x"}, "T1_y"),
        ("convert-lowercase", {}, "t1_x"),
        ("convert-uppercase", {}, "T1_X"),
    ],
)
def test_names_are_changed_as_the_rule_says(action: str, more: dict[str, str], name: str) -> None:
    mappings = TableMappings.parse({"rules": [SELECT_ALL, _transformation("table", action, **more)]})
    assert mappings.target_of("public", "T1_x") == ("public", name)


def test_rules_apply_in_the_order_of_their_ids() -> None:
    first = _transformation("table", "add-prefix", value="a_") | {"rule-id": "2"}
    second = _transformation("table", "add-prefix", value="b_") | {"rule-id": "10"}
    mappings = TableMappings.parse({"rules": [second, SELECT_ALL, first]})
    assert mappings.target_of("public", "t") == ("public", "b_a_t")


def test_an_explicit_rule_selects_one_table() -> None:
    locator = {"schema-name": "public", "table-name": "t"}
    rule = SELECT_ALL | {"rule-action": "explicit", "object-locator": locator}
    mappings = TableMappings.parse({"rules": [rule]})
    assert (mappings.selects("public", "t"), mappings.selects("public", "tt")) == (True, False)


def test_an_lsn_survives_its_texts() -> None:
    lsn = 0x4AF_B00000D0
    assert parse_lsn(lsn_text(lsn)) == lsn
    assert parse_start_position(lsn_text(lsn)) == lsn
    assert parse_start_position(checkpoint_text(12, lsn)) == lsn
    assert checkpoint_text(12, lsn).startswith("checkpoint:V1#12#000004AF/B00000D0#")


@pytest.mark.parametrize("text", ["2018-03-08T12:12:12", "checkpoint:V1#27#mysql-bin.1:4", "0/XYZ", "now"])
def test_a_start_position_of_another_kind_is_refused(text: str) -> None:
    with pytest.raises(LocalServiceError, match="neither a checkpoint nor an LSN"):
        parse_start_position(text)


def test_stop_positions_are_read_as_utc() -> None:
    stop = parse_stop_position("commit_time:2024-05-01T12:00:00")
    assert stop is not None
    assert (stop.is_commit_time, stop.moment) == (True, datetime(2024, 5, 1, 12, tzinfo=UTC))
    assert parse_stop_position(None) is None


@pytest.mark.parametrize("text", ["server_time:tomorrow", "lsn:0/1", "commit_time:"])
def test_a_stop_position_of_another_kind_is_refused(text: str) -> None:
    with pytest.raises(LocalServiceError, match="CdcStopPosition is"):
        parse_stop_position(text)
