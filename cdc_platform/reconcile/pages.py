"""The one way pages are made: templates that escape all that comes from data, in one style."""

from __future__ import annotations

from functools import cache

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from cdc_platform.reconcile.shown_values import show
from cdc_platform.words import counted

_PACKAGE = "cdc_platform.reconcile"
#: What a verdict's chip says besides its name and colour.
GLYPHS = {
    "MATCH": "✓",
    "DIFFERENT": "≠",
    "IN_FLIGHT": "…",
    "UNVERIFIED": "?",
    "ERROR": "!",
    "UNREADABLE": "!",
    "NEVER COMPARED": "○",
}


@cache
def environment(package: str = _PACKAGE) -> Environment:
    """Return the environment of ``package``'s templates, which may use those of this one."""
    made = Environment(
        loader=ChoiceLoader([PackageLoader(name) for name in dict.fromkeys((package, _PACKAGE))]),
        autoescape=True,
        extensions=["jinja2.ext.loopcontrols"],
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["show"] = show
    made.filters["thousands"] = lambda number: f"{number:,}"
    made.filters["counted"] = counted
    made.filters["words"] = lambda text: str(text).replace("_", " ").lower()
    made.filters["glyph"] = lambda verdict: GLYPHS.get(str(verdict), "")
    made.filters["sentence"] = lambda text: text[:1].upper() + text[1:]
    return made
