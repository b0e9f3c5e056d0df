"""Small drawings as SVG, with no script and nothing from outside. A mark's form says what its colour does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime

from markupsafe import Markup

from cdc_platform.reconcile.recent_runs import RunFigures
from cdc_platform.reconcile.verdict import Verdict

_HEIGHT, _STEP = 18, 4
_LEAST = {Verdict.MATCH: 3, Verdict.IN_FLIGHT: 7, Verdict.UNVERIFIED: 9, Verdict.ERROR: 18}


def sparkline(runs: Sequence[RunFigures], width: int = 30) -> Markup:
    """Return the last runs as bars, oldest left: low for a match, higher the more keys differ.

    One path a verdict keeps a page of a thousand tables small.
    """
    paths: dict[str, list[str]] = {}
    for place, run in enumerate(runs[-width:], start=width - len(runs[-width:])):
        verdict = Verdict(run.verdict)
        height = _LEAST.get(verdict) or min(_HEIGHT, 8 + round(3 * math.log10(1 + run.different)))
        bar = f"M{place * _STEP} {_HEIGHT - height}h3v{height}h-3z"
        paths.setdefault(verdict.value, []).append(bar)
    counts = ", ".join(f"{len(bars)} {verdict.replace('_', ' ')}" for verdict, bars in paths.items())
    drawn = Markup("").join(
        Markup('<path class="{}" d="{}"/>').format(verdict, "".join(bars)) for verdict, bars in paths.items()
    )
    size = width * _STEP
    label = f"last {len(runs[-width:])} runs: {counts}" if runs else "no runs"
    return Markup('<svg class="spark" viewBox="0 0 {} {}" role="img"><title>{}</title>{}</svg>').format(
        size, _HEIGHT, label, drawn
    )


def donut(parts: Mapping[str, int]) -> Markup:
    """Return a ring of ``parts`` (name → number), each with the class ``kind-<name>``."""
    total, turned, radius = sum(parts.values()), 0.0, 15.915
    rings = []
    for name, number in parts.items():
        share = 100 * number / max(1, total)
        # a sliver must not vanish, and neighbours stay apart
        dash = max(0.8, share - (1.2 if len(parts) > 1 else 0))
        rings.append(
            Markup(
                '<circle class="kind-{}" cx="21" cy="21" r="{}" pathLength="100" stroke-dasharray="{} 100" '
                'stroke-dashoffset="{}"><title>{}: {}</title></circle>'
            ).format(name, radius, f"{dash:.2f}", f"{-turned:.2f}", name, f"{number:,}")
        )
        turned += share
    return Markup(
        '<svg class="donut" viewBox="0 0 42 42" role="img"><title>{}</title>'
        '<g transform="rotate(-90 21 21)">{}</g>'
        '<text x="21" y="21.5">{}</text><text class="under" x="21" y="26.5">differ</text></svg>'
    ).format(
        ", ".join(f"{number:,} {name}" for name, number in parts.items()),
        Markup("").join(rings),
        short(total),
    )


def run_bars(runs: Sequence[tuple[datetime, str, int, str]]) -> Markup:
    """Return runs (begun, verdict, differences, title), oldest first, as bars over their order in time."""
    if not runs:
        return Markup("")
    step, height = 12, 96
    most = max(1, *(number for _, _, number, _ in runs))
    bars = []
    for place, (_, verdict, number, title) in enumerate(runs):
        size = 4 if not number else 10 + 80 * math.sqrt(number / most)
        bars.append(
            Markup(
                '<rect class="{}" x="{}" y="{}" width="{}" height="{}" rx="1.5"><title>{}</title></rect>'
            ).format(verdict, place * step, f"{height - size:.1f}", step - 3, f"{size:.1f}", title)
        )
    return Markup(
        '<svg class="history" viewBox="0 0 {} {}" preserveAspectRatio="xMinYMax meet" role="img">'
        "<title>differences of each run, oldest left</title>{}</svg>"
    ).format(max(len(runs), 40) * step, height, Markup("").join(bars))


def short(number: int) -> str:
    """Return a number in five characters.

    >>> short(950), short(1_234), short(12_345), short(4_560_000)
    ('950', '1,234', '12k', '4.6M')
    """
    if number < 10_000:
        return f"{number:,}"
    for size, unit in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if number >= size:
            scaled = number / size
            return f"{scaled:.1f}{unit}" if scaled < 10 else f"{scaled:.0f}{unit}"
    return str(number)
