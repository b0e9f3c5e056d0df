"""What a run does at its source before it moves data: tables, publications, slot, the place to begin."""

from __future__ import annotations

from dataclasses import dataclass

from cdc_platform.local.contract import StartRequest, StartType
from cdc_platform.local.engine.context import RunContext
from cdc_platform.local.engine.lsn import parse_start_position
from cdc_platform.local.engine.outcome import RunFailed
from cdc_platform.local.engine.publish import remove_partials
from cdc_platform.local.engine.slots import (
    SlotNames,
    create_own_slot,
    drop_slot,
    publish,
    refuse_gap,
    slot_names,
    slot_position,
)
from cdc_platform.local.engine.source import Connection, SourceTable
from cdc_platform.local.engine.state import COUNTER_GAP, LogPosition


@dataclass(frozen=True, slots=True)
class Preparation:
    """What the run has to do: which tables to load first, and which slot to read."""

    names: SlotNames
    to_load: list[str]
    is_reload: bool


def prepare_source(context: RunContext, request: StartRequest, connection: Connection) -> Preparation:
    """Make the source ready for the run and set the state's tables and position.

    Raises RunFailed when the source lacks what the request needs.
    """
    tables = context.source.tables(connection, context.mappings.selects)
    if not tables:
        raise RunFailed(
            "no table of the source matches the selection rules",
            where="table mappings",
            mend="see the schema and table names, which are case-sensitive",
        )
    is_fresh = request.start_type is not StartType.RESUME
    if is_fresh:
        context.state.tables.clear()
    unknown = _enter(context, tables)
    _tidy(context, tables)
    names = _names(context)
    published: set[str] = set()
    if context.spec.migration_type != "full-load":
        _require_logical_log(connection)
        # the publications come first: what is committed after the slot's first LSN must find them
        published = publish(connection, names, tables)
        _set_position(context, request, connection, names, published)
        if unknown and not is_fresh:
            _skip_sequences(context)
    to_load = _to_load(context, published.union(unknown), is_fresh=is_fresh)
    if not is_fresh and context.state.is_load_done and context.spec.migration_type != "full-load":
        # the log is read up to their snapshot first, as for any reload: it may hold the only word of deletes
        for table_id in to_load:
            statistics = context.state.tables[table_id].statistics
            context.reloads.append((statistics.schema_name, statistics.table_name))
        to_load = []
    return Preparation(names, to_load, is_reload=request.start_type is StartType.RELOAD)


def admit_tables(context: RunContext, connection: Connection, names: SlotNames) -> None:
    """Take in tables that were made, made anew or renamed into the task since it started.

    Their changes are published from here on, and they are loaded at the next chance; a task of migration
    type cdc has their changes only.
    """
    tables = context.source.tables(connection, context.mappings.selects)
    new = [table.id for table in tables if table.id not in context.state.tables]
    late = publish(connection, names, tables) | set(new)
    if not late:
        return
    _enter(context, tables)
    if context.spec.migration_type != "cdc":
        context.reloads.extend((table.schema, table.name) for table in tables if table.id in late)


def _enter(context: RunContext, tables: list[SourceTable]) -> list[str]:
    """Enter the tables into the state; return the ids of those that were not in it."""
    unknown = [table.id for table in tables if table.id not in context.state.tables]
    for table in tables:
        context.progress_of(table)
    if context.spec.migration_type == "cdc":
        for table_id in unknown:
            progress = context.state.tables[table_id]
            progress.is_loaded, progress.statistics.table_state = True, "Table completed"
    context.count_tables()
    return unknown


def _tidy(context: RunContext, tables: list[SourceTable]) -> None:
    """Remove what a killed run left half-written, and mark the tables that are gone from the source."""
    for table in tables:
        remove_partials(context.target_of(table.schema, table.name).folder)
    present = {table.id for table in tables}
    for table_id, progress in context.state.tables.items():
        if table_id not in present:
            progress.statistics.table_state = "Table does not exist"
    context.count_tables()


def _to_load(context: RunContext, late: set[str], *, is_fresh: bool) -> list[str]:
    if context.spec.migration_type == "cdc":
        return []
    chosen = [
        table_id
        for table_id, progress in context.state.tables.items()
        if progress.statistics.table_state != "Table does not exist"
        and not progress.is_suspended
        and (is_fresh or table_id in late or not progress.is_loaded)
    ]
    return sorted(chosen)


def _names(context: RunContext) -> SlotNames:
    state = context.state
    given = context.source.slot_name
    if given is None and state.slot and state.is_own_slot:
        return SlotNames(state.slot, is_own=True)
    names = slot_names(given, context.spec.identifier, str(context.spec.folder))
    state.slot, state.is_own_slot = names.slot, names.is_own
    return names


def _set_position(
    context: RunContext,
    request: StartRequest,
    connection: Connection,
    names: SlotNames,
    published: set[str],
) -> None:
    state = context.state
    if request.start_type is StartType.RESUME:
        _resume(context, connection, names)
        return
    last = state.position or LogPosition(0)
    state.history.clear()
    state.has_place, state.is_load_done = False, context.spec.migration_type == "cdc"
    context.save()
    if request.cdc_start_position:
        lsn = parse_start_position(request.cdc_start_position)
        refuse_gap(names.slot, lsn, _existing_slot(connection, names))
        if published:
            raise RunFailed(
                f"changes of {', '.join(sorted(published))} since the start position were not published",
                where=f"publications {' and '.join(names.publications)}",
                mend="they are now: start again from a later position, or load the tables",
            )
    elif names.is_own:
        drop_slot(connection, names.slot)
        lsn = create_own_slot(context.source, names.slot, context.is_stopping)
    else:
        lsn = _existing_slot(connection, names)
        if published:
            # the slot reaches further back than the publications
            lsn = max(lsn, context.source.current_lsn(connection))
    state.position, state.has_place = LogPosition(lsn, last.time, last.counter), True
    if last.lsn:
        _skip_sequences(context)


def _resume(context: RunContext, connection: Connection, names: SlotNames) -> None:
    state = context.state
    if state.position is None or not state.has_place:
        if context.spec.migration_type == "cdc":
            raise RunFailed(
                "the run before this one ended before it had a place in the log",
                where="resume-processing",
                mend="use start-replication, with CdcStartPosition if it had one",
            )
        # nothing is loaded yet either: begin as that run would have
        _set_position(context, StartRequest(StartType.START), connection, names, set())
        return
    confirmed = _existing_slot(connection, names)
    fault = context.faults.take(context.spec.identifier, "reemit-after-resume")
    if fault is not None:
        state.position = state.earlier(int(fault.get("transactions", 1)))
    refuse_gap(names.slot, state.position.lsn, confirmed)
    while state.history and state.history[-1].lsn >= state.position.lsn:
        state.history.pop()


def _existing_slot(connection: Connection, names: SlotNames) -> int:
    confirmed = slot_position(connection, names.slot)
    if confirmed is None:
        mend = (
            "start the task again with start-replication or reload-target"
            if names.is_own
            else f"make it with pg_create_logical_replication_slot('{names.slot}', 'pgoutput')"
        )
        if names.is_own:
            mend += "; to start from a position give the source endpoint a SlotName"
        raise RunFailed(f"there is no replication slot {names.slot}", where="source endpoint", mend=mend)
    return confirmed


def _skip_sequences(context: RunContext) -> None:
    """Leave a gap in the counter: what it counts is no longer what it was, and it must never repeat."""
    position = context.state.position
    assert position is not None
    context.state.position = LogPosition(position.lsn, position.time, position.counter + COUNTER_GAP)


def _require_logical_log(connection: Connection) -> None:
    row = connection.execute("SHOW wal_level").fetchone()
    if row is None or row[0] != "logical":
        raise RunFailed(
            f"the source's wal_level is {row[0] if row else 'unknown'}",
            where="source endpoint",
            mend="set wal_level=logical at the source and restart it",
        )
