"""``cdc repair`` and the job ``repair`` as a person, a script or the launchpad runs them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
import yaml

from cdc_platform.cli import main
from cdc_platform.definitions import build_definitions
from cdc_platform.pipeline import Platform
from cdc_platform_tests.cli.conftest import Outcome
from cdc_platform_tests.reconcile.shop import log_position
from cdc_platform_tests.repair.shop import Shop

pytestmark = pytest.mark.postgres

LOST = ("UPDATE item SET name = 'lost' WHERE id = 1", "DELETE FROM item WHERE id = 2")

Cdc = Callable[..., Outcome]


@pytest.fixture
def config(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stocked shop's cdc.yaml, with capture as far as the source's log; changes are lost."""
    source = shop.platform.config.sources["retail"]
    told = {
        "version": 1,
        "lake": {"warehouse": "warehouse"},
        "sources": {
            "retail": {
                "raw": {"location": str(shop.raw)},
                "window": {"every": "daily", "start": source.window.start},
                "connection": {"dsn": "${SHOP_DSN}"},
                "tables": [{"name": "public.item", "merge_key": ["id"]}],
            }
        },
    }
    (tmp_path / "cdc.yaml").write_text(yaml.safe_dump(told))
    dsn = shop.dsn or ""
    monkeypatch.setenv("SHOP_DSN", dsn)
    monkeypatch.setattr(Platform, "captured_position", lambda *_: log_position(dsn))
    shop.run(*LOST)
    return tmp_path / "cdc.yaml"


@pytest.fixture
def cdc(capfd: pytest.CaptureFixture[str], config: Path, monkeypatch: pytest.MonkeyPatch) -> Cdc:
    """Run ``cdc`` in the shop's folder."""
    monkeypatch.chdir(config.parent)

    def run(*arguments: str) -> Outcome:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        out, err = capfd.readouterr()
        return Outcome(int(ended.value.code or 0), out, err)

    return run


def test_a_dry_run_then_its_plan_then_undo(cdc: Cdc, shop: Shop) -> None:
    window = ["--window", shop.window]
    plan = cdc("repair", "retail.item", *window, "--dry-run")
    told = cdc("repair", "item", *window, "--dry-run", "--json")
    done = cdc("repair", "retail.item", "--plan", told.json["id"], "--yes")
    repaired = shop.rows()
    undone = cdc("repair", "retail.item", "--undo", told.json["id"], "--yes", "--json")
    listed = cdc("repair", "--list", "--json").json["repairs"]

    assert (1, 1, 0, 0) == (plan.code, told.code, done.code, undone.code)
    assert "2 rows: 1 update, 1 delete" in plan.out
    assert "name=item 1" in plan.out
    assert shop.source_rows() == repaired
    assert "verified: MATCH" in done.out
    assert "rollback" == undone.json["undo"]["method"]
    assert ["planned", "undone"] == [one["state"] for one in listed]


def test_in_one_go_for_a_script_and_again_nothing_to_do(cdc: Cdc, shop: Shop) -> None:
    done = cdc("repair", "retail.item", "-w", shop.window, "--yes", "--json")
    again = cdc("repair", "retail.item", "-w", shop.window, "--yes")

    assert (0, "MATCH") == (done.code, json.loads(done.out)["verified"]["verdict"])
    assert (0, True) == (again.code, "nothing to repair" in again.out)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("repair",), 2, "it must be said which table"),
        (("repair", "retail.item", "--undo", "x", "--list"), 2, "cannot be combined"),
        (("repair", "retail.item", "--undo", "x", "--yes"), 3, "there is no repair 'x'"),
        (("repair", "retail.item", "--run", "x", "--yes"), 3, "no reconciliation 'x' is recorded"),
        (("repair", "retail.item", "--window", "yesterday", "--yes"), 2, "is not a daily window"),
        (("repair", "retail.item", "--max-share", "2", "--yes"), 2, "--max-share above 0 and at most 1"),
    ],
)
def test_wrong_usage_is_told(cdc: Cdc, arguments: tuple[str, ...], code: int, says: str) -> None:
    done = cdc(*arguments)

    assert (code, True) == (done.code, says in done.err)


def test_a_refused_repair_changes_nothing_and_says_why(cdc: Cdc, shop: Shop) -> None:
    before = shop.snapshots()
    window = ("-w", shop.window)
    shown = cdc("repair", "item", *window, "--dry-run", "--max-rows", "1")
    tried = cdc("repair", "item", *window, "--yes", "--max-rows", "1")

    assert (3, 3, before) == (shown.code, tried.code, shop.snapshots())
    assert "2 rows, at most 1" in tried.err


def test_where_nobody_can_be_asked_it_wants_yes(cdc: Cdc, shop: Shop) -> None:
    done = cdc("repair", "item", "-w", shop.window)

    assert (2, True) == (done.code, "give --yes" in done.err)


def test_the_window_of_a_recorded_run_is_repaired(cdc: Cdc, shop: Shop) -> None:
    found = cdc("reconcile", "-t", "item", "-w", shop.window, "--json")
    (run,) = [one["run_id"] for one in found.json["reconciliations"]]

    done = cdc("repair", "retail.item", "--run", run, "--yes", "--json")

    assert (0, run) == (done.code, done.json["run_id"])


def test_the_job_plans_then_carries_out_just_that_plan_and_no_other_scope(config: Path, shop: Shop) -> None:
    job = build_definitions(config).resolve_job_def("repair")

    def run(**options: object) -> dict[str, object]:
        given = {"source": "retail", "table": "item", **options}
        with dg.DagsterInstance.ephemeral() as instance:
            result = job.execute_in_process(
                instance=instance, run_config={"ops": {"repair_rows": {"config": given}}}
            )
        (output,) = [event for event in result.all_events if event.event_type_value == "STEP_OUTPUT"]
        return {name: value.value for name, value in output.step_output_data.metadata.items()}

    plan = run(window=shop.window)
    before = shop.snapshots()
    for other in ({"window": shop.window}, {"full": True}, {"upserts_only": True}):
        with pytest.raises(dg.Failure, match="says already what it repairs → give --plan alone"):
            run(plan=plan["repair"], approve=True, **other)
    assert before == shop.snapshots()
    done = run(plan=plan["repair"], approve=True)

    assert ("planned", 2) == (plan["state"], plan["keys"])
    assert ("verified", "MATCH") == (done["state"], done["verdict"])
    assert (1, shop.source_rows()) == (len(shop.snapshots()) - len(before), shop.rows())
