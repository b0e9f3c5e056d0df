"""What a person sees when cdc.yaml is right, and when it is wrong."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from cdc_platform.config.load import load_config, parse_config
from cdc_platform.config.model import DeleteMode, EngineConfig, PlatformConfig, TableConfig
from cdc_platform.errors import ConfigError, SourceUnavailable
from cdc_platform.reconcile.postgres_session import connect

RIGHT = """\
version: 1
lake:
  warehouse: lake
engine:
  threads: ${CDC_TEST_THREADS:-3}
sources:
  retail:
    raw: {location: raw/retail}
    window: {every: daily, start: 2026-01-01}
    connection:
      dsn: ${CDC_RETAIL_DSN}
    tables:
      - name: public.product
        merge_key: [product_id]
        delete_mode: soft
"""

SIX_MISTAKES = """\
version: 1
engine:
  type: sprak
  memory_limit: lots
sources:
  retail:
    raw: {location: raw/retail, fromat: csv}
    window: {every: daily, start: 2026-13-01}
    connection:
      dsn: ${CDC_NOT_SET}
    tables:
      - name: public.product
        merge_key: [product_id]
      - name: public.product
        merge_key: [product_id]
"""


def mistakes_of(text: str, environment: dict[str, str] | None = None) -> list[tuple[str, str, str]]:
    with pytest.raises(ConfigError) as raised:
        parse_config(text, environment=environment or {})
    return raised.value.mistakes


def right(**environment: str) -> PlatformConfig:
    return parse_config(RIGHT, environment={"CDC_RETAIL_DSN": "host=h password=hunter2", **environment})


def changed(old: str, new: str) -> str:
    assert old in RIGHT
    return RIGHT.replace(old, new)


def test_a_right_file_becomes_the_model() -> None:
    config = right()

    table = TableConfig(name="public.product", merge_key=("product_id",), delete_mode=DeleteMode.SOFT)
    assert (table,) == config.sources["retail"].tables
    assert date(2026, 1, 1) == config.sources["retail"].window.start


def test_six_mistakes_are_told_at_once_with_path_value_and_mend() -> None:
    assert [
        (path, what[: len(start)])
        for (path, what, _), start in zip(
            mistakes_of(SIX_MISTAKES),
            [
                "'sprak' is not one of the choices",
                "'lots' is not a size",
                "unknown key 'fromat'",
                "'2026-13-01': input should be a valid date",
                "environment variable CDC_NOT_SET is not set",
                "table 'public.product' is listed twice",
            ],
            strict=True,
        )
    ] == [
        ("engine.type (line 3)", "'sprak' is not one of the choices"),
        ("engine.memory_limit (line 4)", "'lots' is not a size"),
        ("sources.retail.raw.fromat (line 7)", "unknown key 'fromat'"),
        ("sources.retail.window.start (line 8)", "'2026-13-01': input should be a valid date"),
        ("sources.retail.connection.dsn (line 10)", "environment variable CDC_NOT_SET is not set"),
        ("sources.retail.tables[1].name (line 14)", "table 'public.product' is listed twice"),
    ]


def test_every_mistake_has_a_mend() -> None:
    assert [] == [path for path, _, mend in mistakes_of(SIX_MISTAKES) if not mend]


def test_a_mistyped_key_gets_the_nearest_known_one() -> None:
    assert [mistake for mistake in mistakes_of(SIX_MISTAKES) if "fromat" in mistake[0]] == [
        ("sources.retail.raw.fromat (line 7)", "unknown key 'fromat'", "did you mean `format`?")
    ]


def test_a_mistyped_key_inside_a_union_is_named_without_the_union_s_tag() -> None:
    text = changed("  warehouse: lake\n", "  warehouse: lake\n  catalog: {type: glue, naem: x}\n")

    assert mistakes_of(text, {"CDC_RETAIL_DSN": "host=h"}) == [
        ("lake.catalog.naem (line 4)", "unknown key 'naem'", "did you mean `name`?")
    ]


def test_a_choice_lists_what_may_be_written() -> None:
    text = changed("delete_mode: soft", "delete_mode: sotf")

    assert mistakes_of(text, {"CDC_RETAIL_DSN": "host=h"}) == [
        (
            "sources.retail.tables[0].delete_mode (line 15)",
            "'sotf' is not one of the choices",
            "write 'hard' or 'soft'",
        )
    ]


def test_a_key_written_twice_is_a_mistake() -> None:
    text = changed(
        "        merge_key: [product_id]\n", "        merge_key: [product_id]\n        merge_key: [id]\n"
    )

    (path, what, _) = mistakes_of(text, {"CDC_RETAIL_DSN": "host=h"})[0]
    assert "sources.retail.tables[0].merge_key (line 15)" == path
    assert "written twice (lines 14 and 15)" in what


def test_the_environment_wins_over_a_default() -> None:
    assert (right().engine.threads, right(CDC_TEST_THREADS="5").engine.threads) == (3, 5)


def test_a_doubled_dollar_stays_a_literal() -> None:
    config = parse_config(changed("raw/retail", '"raw/$${NAME}"'), environment={"CDC_RETAIL_DSN": "host=h"})

    assert "raw/${NAME}" == config.sources["retail"].raw.location


def test_a_reference_that_is_not_closed_is_a_mistake() -> None:
    text = changed("${CDC_RETAIL_DSN}", "${CDC_RETAIL_DSN")

    assert ["sources.retail.connection.dsn (line 11)"] == [path for path, _, _ in mistakes_of(text)]


def test_a_password_in_the_file_is_refused_and_not_repeated() -> None:
    text = changed("${CDC_RETAIL_DSN}", "postgresql://etl:hunter2@db/shop")

    with pytest.raises(ConfigError) as raised:
        parse_config(text, environment={})
    assert "hunter2" not in str(raised.value)
    assert "${CDC_RETAIL_DSN}" in str(raised.value)


@pytest.mark.parametrize(
    "catalog",
    [
        "{type: glue, properties: {s3.secret-access-key: hunter2}}",
        "{type: sql, uri: 'postgresql://etl:hunter2@db/catalog'}",
    ],
)
def test_a_secret_of_the_catalog_is_refused_in_the_file_too(catalog: str) -> None:
    text = changed("  warehouse: lake\n", f"  warehouse: lake\n  catalog: {catalog}\n")

    (mistake,) = mistakes_of(text, {"CDC_RETAIL_DSN": "host=h"})
    assert "a secret is written into the file" in mistake[1]
    assert "hunter2" not in str(mistake)


def test_a_secret_from_the_environment_is_not_shown_in_a_mistake() -> None:
    text = changed("      dsn: ${CDC_RETAIL_DSN}\n", "      host: h\n      port: ${CDC_PORT}\n")

    with pytest.raises(ConfigError) as raised:
        parse_config(text, environment={"CDC_PORT": "hunter2"})
    assert "hunter2" not in str(raised.value)
    assert "${CDC_PORT}: input should be a valid integer" in str(raised.value)


def test_a_secret_is_not_shown_by_the_configuration_itself() -> None:
    assert "hunter2" not in repr(right()) + str(right().model_dump())


def test_an_active_table_without_a_key_is_told_what_it_can_be() -> None:
    text = changed("        merge_key: [product_id]\n", "")

    (mistake,) = mistakes_of(text, {"CDC_RETAIL_DSN": "host=h"})
    assert "set `merge_key`, or `no_key: append` or `multiset`, or `active: false`" == mistake[2]


def test_an_empty_merge_key_of_an_active_table_is_a_mistake() -> None:
    text = changed("merge_key: [product_id]", "merge_key: []")

    assert [("sources.retail.tables[0] (line 13)", "an active table needs a merge key")] == [
        (path, what) for path, what, _ in mistakes_of(text, {"CDC_RETAIL_DSN": "host=h"})
    ]


@pytest.mark.parametrize("section", ["engine", "prepared"])
def test_a_size_that_is_none_is_mended_in_words(section: str) -> None:
    assert [(f"{section}.memory_limit (line 1)", "'lots' is not a size", "write a size such as 2GB")] == [
        one for one in mistakes_of(f"{section}: {{memory_limit: lots}}\n") if "memory_limit" in one[0]
    ]


@pytest.mark.parametrize("size", ["1MB", "0.063GB", "61MiB"])
def test_less_memory_than_any_merge_needs_is_a_mistake(size: str) -> None:
    told = ("engine.memory_limit (line 1)", f"'{size}' is too small for any merge", "give it 64MB at least")
    assert [told] == [one for one in mistakes_of(f"engine: {{memory_limit: {size}}}\n") if "memory" in one[0]]
    assert "64MB" == EngineConfig(memory_limit="64MB").memory_limit


@pytest.mark.parametrize(("key", "first", "second"), [("id, id", "id", "id"), ("ID, at, Id", "ID", "Id")])
def test_a_merge_key_that_names_a_column_twice_is_a_mistake(key: str, first: str, second: str) -> None:
    text = changed("merge_key: [product_id]", f"merge_key: [{key}]")

    (mistake,) = mistakes_of(text, {"CDC_RETAIL_DSN": "host=h"})
    assert f"`merge_key` has '{first}' and '{second}', which are one column" == mistake[1]


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "{}\n"])
def test_a_file_that_says_nothing_lacks_a_version_and_sources(tmp_path: Path, text: str) -> None:
    file = tmp_path / "cdc.yaml"
    file.write_text(text)

    with pytest.raises(ConfigError) as raised:
        load_config(file, is_whole=True)

    assert [
        ("is missing", "start the file with `version: 1`"),
        ("there are no sources", "add a source with its `raw` and `window` under `sources`"),
    ] == [(what, mend) for _, what, mend in raised.value.mistakes]


def test_a_file_whose_list_of_sources_is_empty_is_a_mistake(tmp_path: Path) -> None:
    file = tmp_path / "cdc.yaml"
    file.write_text("version: 1\nsources: {}\n")

    with pytest.raises(ConfigError, match=r"sources \(line 2\): there are no sources"):
        load_config(file, is_whole=True)


def test_what_a_file_lacks_is_told_with_its_other_mistakes(tmp_path: Path) -> None:
    file = tmp_path / "cdc.yaml"
    file.write_text(changed("version: 1\n", "").replace("host", "h").replace("soft", "sotf"))

    with pytest.raises(ConfigError) as raised:
        load_config(file, is_whole=True)

    told = [path.partition(" ")[0] for path, _, _ in raised.value.mistakes]
    assert {"version", "sources.retail.tables[0].delete_mode"} <= set(told)


def test_the_model_itself_needs_neither_version_nor_sources() -> None:
    assert PlatformConfig() == PlatformConfig.model_validate({})


def test_broken_yaml_is_located() -> None:
    (mistake,) = mistakes_of("version: 1\nlake: {warehouse: [\n")

    assert "line 3, column 1" == mistake[0]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml.*\n.*there is no such file"):
        load_config(tmp_path / "nowhere.yaml")


def test_relative_paths_start_from_the_file_s_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cdc.yaml").write_text(RIGHT)
    monkeypatch.setenv("CDC_RETAIL_DSN", "host=h")

    config = load_config(tmp_path / "cdc.yaml")

    assert str(tmp_path.resolve() / "lake") == config.path_of(config.lake.warehouse)


def test_the_configuration_s_folder_cannot_be_set_in_the_file() -> None:
    mistakes = mistakes_of("base_folder: /etc\n" + RIGHT, {"CDC_RETAIL_DSN": "host=h"})

    assert ["base_folder (line 1)"] == [path for path, _, _ in mistakes]


def test_the_repository_s_own_configuration_is_right_without_any_environment() -> None:
    file = Path(__file__).parents[2] / "cdc.yaml"

    config = parse_config(file.read_text(), environment={})

    assert ["product", "store", "productorder"] == [table.id for table in config.sources["retail"].tables]


def test_a_dsn_file_is_read_when_the_configuration_is(tmp_path: Path) -> None:
    (tmp_path / "retail.dsn").write_text("host=h password=hunter2\n")
    text = changed("dsn: ${CDC_RETAIL_DSN}", "dsn_file: retail.dsn")

    connection = parse_config(text, base_folder=tmp_path, environment={}).sources["retail"].connection

    assert connection is not None
    assert connection.dsn is not None
    assert "host=h password=hunter2" == connection.dsn.get_secret_value()


def test_a_missing_dsn_file_is_named_by_whoever_connects(tmp_path: Path) -> None:
    text = changed("dsn: ${CDC_RETAIL_DSN}", "dsn_file: retail.dsn")
    connection = parse_config(text, base_folder=tmp_path, environment={}).sources["retail"].connection
    assert connection is not None

    with pytest.raises(SourceUnavailable, match=str(tmp_path / "retail.dsn")):
        connect(connection)


@pytest.mark.parametrize(
    ("value", "mend"), [("0", "write more than 0.0"), ("2", "write at most 1.0"), ("much", "write a number")]
)
def test_a_share_out_of_bounds_is_mended_in_words(value: str, mend: str) -> None:
    text = RIGHT + f"maintenance: {{compaction: {{delete_debt: {value}}}}}\n"

    assert [mend] == [one for _, _, one in mistakes_of(text, {"CDC_RETAIL_DSN": "host=h"})]


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf"])
def test_what_is_no_number_is_refused_where_a_number_is_meant(value: str) -> None:
    mistakes = mistakes_of(f"version: 1\nmaintenance: {{snapshots: {{max_age_days: {value}}}}}\n")

    assert ["maintenance.snapshots.max_age_days (line 2)"] == [path for path, _, _ in mistakes]
    assert ["write a number, neither infinite nor nan"] == [mend for _, _, mend in mistakes]
