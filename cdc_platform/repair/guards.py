"""What must hold for a repair to be made: bounds a person may raise, and conditions nobody may."""

from __future__ import annotations

from dataclasses import dataclass

from cdc_platform.config.repair import RepairOptions
from cdc_platform.events import Position
from cdc_platform.repair.record import Guard


@dataclass(frozen=True, slots=True)
class Seen:
    """What the guards judge."""

    keys: int
    #: Rows of base to delete, but for those that are written under another spelling of their key.
    deletes: int
    compared: int
    base_rows: int
    source_rows: int
    unverified: int
    incomplete: tuple[str, ...]
    place: Position | None
    #: Why there is no place for the repair's events.
    no_place: str
    highest: Position | None
    #: Whether a whole table was compared, so that there is no share of a window.
    is_whole: bool = False


def guards(seen: Seen, limits: RepairOptions) -> tuple[Guard, ...]:
    """Return every guard, in the order a person reads them. Pure."""
    of_window = Guard("share of window", *_share(seen.keys, seen.compared, "keys compared", limits))
    return (
        Guard("place", *_place(seen)),
        Guard("rows", *_rows(seen, limits)),
        *(() if seen.is_whole else (of_window,)),
        Guard("share of table", *_share(seen.keys, seen.base_rows, "rows of base", limits)),
        Guard("deletes", *_deletes(seen)),
    )


def _place(seen: Seen) -> tuple[bool, str]:
    if seen.place is None:
        return not seen.no_place, seen.no_place or "nothing to place"
    if seen.highest is not None and seen.highest >= seen.place:
        return False, (
            "base knows a change of one of the keys that is later than the source's clock tells: the clock "
            "went back, or positions do not tell its time; repair once the clock has passed it"
        )
    return True, f"events stand at {seen.place.generation}:{seen.place.sequence}, above what base knows"


def _rows(seen: Seen, limits: RepairOptions) -> tuple[bool, str]:
    told = f"{seen.keys:,} rows, at most {limits.max_rows:,} (--max-rows, repair.max_rows)"
    return seen.keys <= limits.max_rows, told


def _share(part: int, whole: int, of: str, limits: RepairOptions) -> tuple[bool, str]:
    share = part / whole if whole else 0.0
    told = f"{part:,} of {whole:,} {of} ({share:.1%}), at most {limits.max_share:.1%}"
    if whole < limits.share_from:
        return True, f"{told} from {limits.share_from:,} on"
    return share <= limits.max_share, f"{told} (--max-share, repair.max_share)"


def _deletes(seen: Seen) -> tuple[bool, str]:
    if not seen.deletes:
        return True, "no row is deleted"
    told = f"{seen.deletes:,} rows of base are to be deleted"
    if not seen.source_rows:
        return False, f"{told}, but the source gave no row at all of the keys it was asked for"
    if seen.unverified:
        return False, f"{told}, but {seen.unverified:,} keys could not be verified"
    if seen.incomplete:
        what = "the full run" if seen.is_whole else "the window"
        return False, f"{told}, but {what} is not wholly compared: {'; '.join(seen.incomplete)}"
    return True, f"{told}; the source was read whole"
