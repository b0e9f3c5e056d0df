"""Making the DMS objects of a plan, against the local DMS."""

from __future__ import annotations

import pytest

from cdc_platform.errors import ReplicationError
from cdc_platform.replication import (
    apply_replication,
    dms_client,
    find_task,
    plan_replication,
    raw_root_of,
    start,
    stop,
)
from cdc_platform_tests.local.conftest import LocalDms
from cdc_platform_tests.replication.conftest import Configure


def test_a_plan_is_made_whole_and_its_connections_tested(dms: LocalDms, configure: Configure) -> None:
    config = configure(url=dms.endpoint.url)
    client = dms_client(config, "retail")

    made = apply_replication(client, plan_replication(config, "retail", raw_root=raw_root_of(config, client)))

    assert made.task.status == "ready"
    assert set(made.done.values()) == {"made", "successful"}
    assert dms.engine.seen_sources[0]["Password"] == "s3cret"


def test_applying_again_changes_nothing(dms: LocalDms, configure: Configure) -> None:
    config = configure(url=dms.endpoint.url)
    client = dms_client(config, "retail")
    first = apply_replication(client, plan_replication(config, "retail"))

    told: list[str] = []
    again = apply_replication(client, plan_replication(config, "retail"), progress=told.append)

    assert set(again.done.values()) == {"unchanged", "successful"}
    assert again.task.arn == first.task.arn
    assert "task retail-cdc: unchanged" in told


def test_what_changed_in_the_configuration_is_changed_in_dms(dms: LocalDms, configure: Configure) -> None:
    before = configure(url=dms.endpoint.url)
    client = dms_client(before, "retail")
    apply_replication(client, plan_replication(before, "retail"))
    after = configure(
        dms={
            "endpoint_url": dms.endpoint.url,
            "max_batch_interval_seconds": 7,
            "instance_class": "dms.r5.large",
        },
        tables=[{"name": "public.store", "merge_key": ["store_id"]}],
    )

    changed = apply_replication(client, plan_replication(after, "retail"))

    assert changed.done["replication instance retail-cdc"] == "changed"
    assert changed.done["target endpoint retail-raw"] == "changed"
    assert changed.done["source endpoint retail-source"] == "unchanged"
    assert changed.done["task retail-cdc"] == "changed"
    settings = client.describe_endpoints(Filters=[{"Name": "endpoint-id", "Values": ["retail-raw"]}])
    assert settings["Endpoints"][0]["S3Settings"]["CdcMaxBatchInterval"] == 7


def test_a_running_task_is_left_alone_when_nothing_differs(dms: LocalDms, configure: Configure) -> None:
    config = configure(url=dms.endpoint.url)
    client = dms_client(config, "retail")
    apply_replication(client, plan_replication(config, "retail"))
    start(client, "retail-cdc")

    again = apply_replication(client, plan_replication(config, "retail"))

    assert again.task.status == "running"


def test_a_change_under_a_running_task_asks_to_stop_it_first(dms: LocalDms, configure: Configure) -> None:
    config = configure(url=dms.endpoint.url)
    client = dms_client(config, "retail")
    apply_replication(client, plan_replication(config, "retail"))
    start(client, "retail-cdc")
    changed = configure(url=dms.endpoint.url, tables=[{"name": "public.store", "merge_key": ["store_id"]}])

    with pytest.raises(
        ReplicationError, match=r"differs from cdc.yaml, and its task is running.*stop the task"
    ):
        apply_replication(client, plan_replication(changed, "retail"))
    stop(client, "retail-cdc")
    done = apply_replication(client, plan_replication(changed, "retail")).done

    assert done["task retail-cdc"] == "changed"


def test_a_source_that_does_not_answer_is_named_without_its_password(
    dms: LocalDms, configure: Configure
) -> None:
    config = configure(url=dms.endpoint.url)
    client = dms_client(config, "retail")
    dms.engine.connection_failure = "no route to postgresql://etl:s3cret@db.example/shop"

    with pytest.raises(ReplicationError, match="DMS cannot connect: no route") as raised:
        apply_replication(client, plan_replication(config, "retail"))

    assert "s3cret" not in str(raised.value)
    assert find_task(client, "retail-cdc") is None


def test_a_changed_password_reaches_the_endpoint(dms: LocalDms, configure: Configure) -> None:
    config = configure(url=dms.endpoint.url)
    client = dms_client(config, "retail")
    apply_replication(client, plan_replication(config, "retail"))
    renewed = configure(
        url=dms.endpoint.url,
        connection={"dsn": "postgresql://etl:renewed@db.example:5433/shop?sslmode=require"},
    )
    dms.engine.accepted_password = "renewed"

    apply_replication(client, plan_replication(renewed, "retail"))

    assert dms.engine.seen_sources[-1]["Password"] == "renewed"


def test_an_endpoint_that_does_not_answer_is_named_with_the_mend(configure: Configure) -> None:
    config = configure(url="http://127.0.0.1:9")
    client = dms_client(config, "retail")

    with pytest.raises(ReplicationError, match=r"DMS does not answer.*cdc local up"):
        apply_replication(client, plan_replication(config, "retail"))


def test_real_credentials_are_not_used_for_a_stand_in(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAREAL")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "real")

    client = dms_client(configure(url="http://127.0.0.1:9"), "retail")

    assert client._request_signer._credentials.access_key == "local"  # type: ignore[attr-defined]
