"""DSNs taken apart, and errors of connections that quote no secret."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from cdc_platform.config.model import Connection
from cdc_platform.errors import SourceUnavailable, redact
from cdc_platform.local.engine.outcome import RunFailed
from cdc_platform.local.engine.source import Source
from cdc_platform.local.sample import run_workload
from cdc_platform.postgres_dsn import UnreadableDsn, parts_of
from cdc_platform.reconcile.postgres_session import connect

#: Of each the password is some of geheim, eim42 and wort42; nothing listens on port 1.
SPELLED = [
    "postgresql://etl:geh@eim42@127.0.0.1:1/shop",
    "postgresql://etl:geh@@eim42@127.0.0.1:1/shop",
    "postgresql://etl:geheim/42@127.0.0.1:1/shop",
    "postgresql://etl:12/eim42@127.0.0.1:1/shop",
    "postgresql://etl:geh eim42@127.0.0.1:1/shop",
    "postgresql://etl:geh%zzeim42@127.0.0.1:1/shop",
    "postgresql://etl:geheim42@127.0.0.1:port/shop",
    "postgresql://etl:geheim",
    "host=127.0.0.1 port=1 user=etl password=geheim wort42 dbname=x",
    "host=127.0.0.1 passwort=geheim42",
    "host=geh@eim42 port=1 dbname=x",
    r"host=127.0.0.1 password='geh\'eim42' dbname=x port=1",
    "postgresql://127.0.0.1:1/shop?user=etl&password=geh%20eim42&sslmode=foo",
    "postgresql://etl:geh?eim42@127.0.0.1:1/shop",
    "postgresql://etl:geheim42@127.0.0.1:1/shop",
]


@pytest.mark.parametrize("dsn", SPELLED)
def test_what_is_said_of_a_connection_that_cannot_be_made_quotes_no_password(dsn: str) -> None:
    with pytest.raises(SourceUnavailable) as of_source:
        connect(Connection(dsn=SecretStr(dsn)))
    with pytest.raises(SourceUnavailable) as of_sample:
        run_workload(dsn, changes=1)

    for said in (str(of_source.value), str(of_sample.value)):
        assert not any(part in said for part in ("eim42", "wort42", "geheim"))
    assert of_source.value.__cause__ is None


@pytest.mark.parametrize("dsn", SPELLED[:11])
def test_a_dsn_that_may_be_taken_apart_wrongly_is_refused_with_its_mend(dsn: str) -> None:
    with pytest.raises(
        SourceUnavailable, match="the dsn in the source's `connection` cannot be parsed"
    ) as found:
        connect(Connection(dsn=SecretStr(dsn)))

    assert "percent-encode what is special in the password (@ is %40" in found.value.mend


@pytest.mark.parametrize(
    ("dsn", "host", "password"),
    [
        (
            "postgresql://etl:geh%40eim%2F42@db-1.example:5432/shop?application_name=a@b",
            "db-1.example",
            "geh@eim/42",
        ),
        ("postgresql://etl:x@[::1]:5432/shop", "::1", "x"),
        ("postgresql://etl:x@h1:5432,h2:5433/shop", "h1,h2", "x"),
        (
            "postgresql:///shop?host=/var/run/postgresql&user=etl@tenant&password=x",
            "/var/run/postgresql",
            "x",
        ),
        ("host=h user=etl password='two words' port=5432", "h", "two words"),
        (" postgres://etl:x:y@h/shop", "h", "x:y"),
    ],
)
def test_a_dsn_is_taken_apart_as_libpq_does(dsn: str, host: str, password: str) -> None:
    parts = parts_of(dsn.strip())

    assert (host, password) == (parts["host"], parts["password"])


def test_a_url_whose_database_has_an_at_sign_is_read_when_it_is_encoded() -> None:
    assert "a@b" == parts_of("postgresql://etl:x@h/a%40b")["dbname"]
    with pytest.raises(UnreadableDsn):
        parts_of("postgresql://etl:x@h/a@b")


def test_an_endpoint_that_cannot_be_reached_tells_no_password_as_a_host() -> None:
    endpoint = {"ServerName": "127.0.0.1", "Port": 1, "DatabaseName": "geh eim42", "Username": "u"}
    with pytest.raises(RunFailed) as found:
        Source({**endpoint, "Password": "geh eim42"}).connect()

    assert "eim42" not in str(found.value)


@pytest.mark.parametrize(
    "text",
    [
        "cannot open postgresql://etl:geh@eim42@db/shop",
        'could not translate host name "eim42@db" to address',
        "failed to resolve host 'eim42@db': unknown",
        r"host=db password='geh\'eim42' dbname=x",
    ],
)
def test_a_text_of_others_is_shown_without_a_password_that_has_an_at_sign_or_a_quote(text: str) -> None:
    assert "eim42" not in redact(text)
