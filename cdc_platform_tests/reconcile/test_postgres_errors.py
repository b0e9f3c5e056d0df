"""Which mend an error of PostgreSQL names."""

from __future__ import annotations

import psycopg
import pytest

from cdc_platform.reconcile.postgres_errors import unavailable


@pytest.mark.parametrize(
    ("state", "mend"),
    [
        ("42703", "merge key and columns"),
        ("22P02", "merge key and columns"),
        ("42501", "grant the reconciliation user SELECT"),
        ("55P03", "when that session has ended"),
        ("57014", "index the merge key"),
        ("25P03", "SET idle_in_transaction_session_timeout = 0"),
        ("57P05", "SET idle_session_timeout = 0"),
        ("57P01", "an administrator ended the session"),
        ("40001", "hot_standby_feedback"),
        ("53300", "connections: reconcile when it is quieter"),
        ("XX002", "look into its log"),
        ("28P01", "check user and password"),
        ("P0001", "look into the server's log"),
    ],
)
def test_the_mend_is_that_of_the_kind_of_error(state: str, mend: str) -> None:
    error = psycopg.errors.lookup(state)("it was refused")

    assert mend in unavailable(error, "cannot read public.item").mend


def test_a_statement_that_somebody_cancelled_did_not_time_out() -> None:
    error = psycopg.errors.QueryCanceled("canceling statement due to user request")

    assert "somebody cancelled the statement: reconcile again" == unavailable(error, "cannot read x").mend
