"""Text as decimals: exact, or refused."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pytest

from cdc_platform.decimal_text import decimals_of_text
from cdc_platform.errors import LocalServiceError
from cdc_platform.local.engine.types import SourceType, column_type


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("-" + "9" * 38, pa.decimal128(38, 0)),
        ("0." + "1" * 38, pa.decimal128(38, 38)),
        ("-" + "9" * 32 + ".999999", pa.decimal128(38, 6)),
        ("1.50", pa.decimal128(10, 2)),
    ],
)
def test_a_number_that_fits_keeps_every_digit(text: str, kind: pa.DataType) -> None:
    assert [Decimal(text), None] == decimals_of_text(pa.array([text, None]), kind).to_pylist()


@pytest.mark.parametrize(
    "text", [f"{2**128 + 1}", "340282366920938463463374607431769.711456", "1" + "0" * 39]
)
def test_a_number_of_more_digits_than_128_bits_hold_is_refused_and_never_another(text: str) -> None:
    with pytest.raises(pa.ArrowInvalid, match="digits"):
        decimals_of_text(pa.array(["1", text]), pa.decimal128(38, 6))


def test_the_local_dms_refuses_a_number_no_decimal_holds() -> None:
    with pytest.raises(LocalServiceError, match="a value does not fit"):
        column_type(SourceType("numeric")).parse(
            pa.array(["340282366920938463463374607431769.711456"]), column="n"
        )
