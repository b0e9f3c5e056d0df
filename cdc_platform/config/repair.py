"""How far a repair may go without a person raising the bounds."""

from __future__ import annotations

from pydantic import Field

from cdc_platform.config.base import Model


class RepairOptions(Model):
    """The bounds of a repair; options of ``cdc repair`` override them for one."""

    max_rows: int = Field(10_000, ge=1, description="a repair of more rows is refused")
    max_share: float = Field(
        0.2, gt=0, le=1, description="a repair of a larger share of the window's keys, or of base, is refused"
    )
    share_from: int = Field(
        100, ge=1, description="of fewer keys, or rows of base, any share may be repaired"
    )
