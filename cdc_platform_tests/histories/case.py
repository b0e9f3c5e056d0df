"""A case: a table's shape, what happened, how its files are cut, and in which steps they are merged."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from cdc_platform_tests.histories.afterwards import AFTERWARDS, OF_THE_PAST, TUNINGS
from cdc_platform_tests.histories.shape import Shape, random_shape
from cdc_platform_tests.histories.source import Happening, Life, Transaction, play, random_timeline

#: A part of a transaction: its id, and from which to which of its events.
Part = tuple[int, int, int | None]


@dataclass(frozen=True)
class File:
    """A raw file: some transactions of one generation and era, or rows of a load."""

    name: str
    #: Minutes after the epoch of the tests; its file time.
    minute: int
    parts: tuple[Part, ...] = ()
    #: The happening that began the load, and the keys the file has of it.
    load: int | None = None
    keys: tuple[int, ...] = ()
    #: Whether the file says NULL in a key column of one row more, which belongs into quarantine.
    has_null_key: bool = False
    #: How the file is written: key as number, text or decimal; deletes with their key only before.
    key_as: str = "own"
    deletes_before: bool = False
    has_before: bool = True
    batch_rows: int = 50
    #: Why it cannot be read until mended: "torn" or "type"; for good: "kind", positions of another kind.
    fault: str = ""
    #: Rows the reader refuses, or finds without a key, until the file is mended.
    bad_rows: tuple[int, ...] = ()


@dataclass(frozen=True)
class Decision:
    """What is done about a file in quarantine, or about one row of it: mend, release or discard."""

    what: str
    file: str
    row: int | None = None


@dataclass(frozen=True)
class Step:
    """A merge of some files; ``completes`` says that finished loads are told, ``then`` what comes after."""

    files: tuple[str, ...]
    completes: bool = True
    then: str = ""
    #: Whether main is held back.
    held: bool = False
    #: Taken before the merge.
    decisions: tuple[Decision, ...] = ()


@dataclass(frozen=True)
class Case:
    """Plain data, to run, to shrink and to show."""

    shape: Shape
    timeline: tuple[Happening, ...]
    files: tuple[File, ...]
    steps: tuple[Step, ...]
    #: Whether a change file counts to the last load until the first file of its own is delivered.
    late_loads: bool = False
    #: Names of limits that are lowered, see ``afterwards.TUNINGS``.
    tuned: tuple[str, ...] = ()
    #: Whether a day lies between two transactions, and deletes are forgotten after two.
    forgets: bool = False
    seed: int | None = None

    def life(self) -> Life:
        return play(self.shape, self.timeline)


def random_case(seed: int) -> Case:
    """Return the case of a seed."""
    random = Random(seed)
    shape = random_shape(random)
    timeline = random_timeline(random, shape)
    life = play(shape, timeline)
    files = (*_change_files(random, shape, life), *_load_files(random, shape, life))
    return Case(
        shape=shape,
        timeline=timeline,
        files=files,
        steps=_random_steps(random, files),
        late_loads=random.random() < 0.3,
        tuned=tuple(name for name in TUNINGS if random.random() < 0.3),
        seed=seed,
    )


def random_forgetful_case(seed: int) -> Case:
    """Return the case of a seed whose table forgets its deletes before all files have come."""
    case = random_case(seed)
    kind = "change-sequence" if case.shape.kind == "file-time" else case.shape.kind
    return replace(
        case,
        shape=replace(case.shape, kind=kind),
        # an event in doubt would go on waiting though the rollback brought back what told of its key
        steps=tuple(replace(step, then="clean up") if "back" in step.then else step for step in case.steps),
        tuned=tuple({*case.tuned, "gather tombstones"}),
        forgets=True,
    )


def random_indexed_case(seed: int) -> Case:
    """Return the case of a seed whose files come in order, few at a time, so that key indexes find rows."""
    case = random_case(seed)
    random = Random(seed + 2)
    files = sorted(case.files, key=when)
    size = max(1, -(-len(files) // 6))
    steps = tuple(
        Step(
            tuple(file.name for file in files[start : start + size]),
            then=random.choice(("", "", "compact", "lose indexes", "damage indexes", *OF_THE_PAST[::2])),
        )
        for start in range(0, len(files), size)
    )
    tuned = {*case.tuned, "index keys"} - {"let hashes collide"}
    tuned |= {"let hashes collide"} if random.random() < 0.5 else set()
    return replace(case, shape=replace(case.shape, soft=False), steps=steps, tuned=tuple(sorted(tuned)))


def _change_files(random: Random, shape: Shape, life: Life) -> list[File]:
    files: list[File] = []
    groups: dict[tuple[int, int], list[Transaction]] = {}
    for transaction in life.transactions.values():
        groups.setdefault((transaction.generation, transaction.era), []).append(transaction)
    for (generation, era), transactions in groups.items():
        chunks = _chunks(random, transactions, may_split=shape.kind == "change-sequence")
        if shape.kind != "file-time":
            # Where the name of a file decides nothing, it may come again, in part or with others, even twice
            # over in one file.
            chunks += [_overlap(random, transactions) for _ in range(random.choice((0, 0, 1, 2)))]
        for number, chunk in enumerate(chunks):
            minute = len(files) if shape.kind == "file-time" else random.randrange(40)
            files.append(_dressed(random, shape, File(f"g{generation}e{era}c{number}", minute, tuple(chunk))))
    return files


def _chunks(random: Random, transactions: list[Transaction], *, may_split: bool) -> list[list[Part]]:
    chunks: list[list[Part]] = [[]]
    for transaction in transactions:
        count = len(transaction.events)
        can_split = may_split and count > 1 and transaction.events[0].pair is None
        if can_split and random.random() < 0.3:
            cut = random.randint(1, count - 1)
            chunks[-1].append((transaction.id, 0, cut))
            chunks.append([(transaction.id, cut, None)])
        else:
            chunks[-1].append((transaction.id, 0, None))
        if random.random() < 0.35:
            chunks.append([])
    return [chunk for chunk in chunks if chunk]


def _overlap(random: Random, transactions: list[Transaction]) -> list[Part]:
    start = random.randrange(len(transactions))
    stop = random.randint(start + 1, len(transactions))
    parts: list[Part] = [(transaction.id, 0, None) for transaction in transactions[start:stop]]
    return parts * 2 if random.random() < 0.2 else parts


def _load_files(random: Random, shape: Shape, life: Life) -> list[File]:
    files = []
    for number, load in life.loads.items():
        keys = sorted(load.rows)
        random.shuffle(keys)
        cut = random.randint(0, len(keys)) if random.random() < 0.5 else len(keys)
        parts = [keys[:cut], *([keys[cut:]] if cut < len(keys) else [])]
        for each, part in enumerate(parts):
            file = File(f"g{load.generation}l{each}", 0, load=number, keys=tuple(part))
            files.append(_dressed(random, shape, file))
    return files


def _dressed(random: Random, shape: Shape, file: File) -> File:
    return replace(
        file,
        has_null_key=random.random() < 0.08,
        key_as=random.choice(("own", "text", "decimal")) if shape.mixed_key else "own",
        deletes_before=random.random() < 0.15,
        has_before=random.random() < 0.8,
        batch_rows=random.choice((2, 50, 50)),
    )


def _random_steps(random: Random, files: tuple[File, ...]) -> tuple[Step, ...]:
    count = random.choice((1, 2, 2, 3, 3, 4, 5))
    groups: list[list[str]] = [[] for _ in range(count)]
    order = random.choice(("any", "any", "about", "strict"))
    in_order = sorted(files, key=when)
    for number, file in enumerate(in_order):
        place = number * count // len(files)
        if order == "about":
            place = min(count - 1, max(0, place + random.choice((-1, 0, 0, 1))))
        elif order == "any":
            place = random.randrange(count)
        groups[place].append(file.name)
        if order != "strict" and random.random() < 0.2:
            groups[random.randrange(count)].append(file.name)
    for group in groups:
        random.shuffle(group)
    afterwards = ("", "", "", "compact", *AFTERWARDS) if random.random() < 0.4 else ("",)
    return tuple(
        Step(tuple(group), completes=random.random() < 0.7, then=random.choice(afterwards))
        for group in groups
        if group
    )


def when(file: File) -> int:
    """Return the happening a file begins with."""
    return file.load if file.load is not None else file.parts[0][0]
