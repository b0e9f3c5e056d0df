"""What every part of the configuration model shares: frozen, strict about keys, mistakes with a mend."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError

#: No span of time is longer, so that dates can be reckoned with it.
LONGEST_DAYS = 36_500


class Model(BaseModel):
    """A frozen part of the configuration that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def mistake(what: str, mend: str, *, kind: str = "cdc_mistake") -> PydanticCustomError:
    """Return the ValueError a validator raises: what is wrong, and what a person does about it."""
    return PydanticCustomError(kind, "{what}; {mend}", {"what": what, "mend": mend})
