"""pyiceberg's ``Table.upsert`` with the updates and inserts of the changes; it has no way to delete."""

from __future__ import annotations

from bench.competitors.iceberg_changes import changed_rows_sql
from bench.competitors.task import Answer, Task, serve, timed
from bench.lake import BenchLake
from cdc_platform.lake.read import open_workspace
from cdc_platform.pipeline import Platform


def upsert(task: Task) -> Answer:
    """Upsert ``repeat`` times, reading the change files included."""
    lake = BenchLake.of(task)
    files = lake.data.change_files(task.changes, task.kind)
    seconds = []
    for _ in range(task.repeat):
        lake.reset()
        with Platform.open(lake.config).lake as opened, open_workspace(opened, iceberg=True) as con:
            table = lake.table(opened)
            query = f"FROM ({changed_rows_sql(lake.data.variant, files, con, table)}) WHERE _cdc_op <> 'D'"

            def change(con=con, table=table, query=query) -> None:  # type: ignore[no-untyped-def]
                rows = con.execute(query).to_arrow_table().cast(table.schema().as_arrow())
                table.upsert(rows, join_cols=list(lake.data.variant.key))

            seconds.append(timed(change))
    return Answer(seconds, details={"deletes": False})


if __name__ == "__main__":
    serve(upsert)
