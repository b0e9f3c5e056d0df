"""A full copy-on-write rewrite: DuckDB reads the table without the changed keys and adds the changed rows,
pyiceberg overwrites the table with that stream."""

from __future__ import annotations

from bench.competitors.iceberg_changes import changed_rows_sql
from bench.competitors.task import Answer, Task, serve, timed
from bench.lake import BenchLake, scan_sql
from cdc_platform.lake.read import open_workspace
from cdc_platform.pipeline import Platform


def rewrite(task: Task) -> Answer:
    """Overwrite the table ``repeat`` times."""
    lake = BenchLake.of(task)
    files = lake.data.change_files(task.changes, task.kind)
    seconds = []
    for _ in range(task.repeat):
        lake.reset()
        with Platform.open(lake.config).lake as opened, open_workspace(opened, iceberg=True) as con:
            table = lake.table(opened)
            rows = changed_rows_sql(lake.data.variant, files, con, table)
            keys = ", ".join(lake.data.variant.key)
            names = ", ".join(field.name for field in table.schema().fields)

            def overwrite(con=con, table=table, rows=rows, keys=keys, names=names) -> None:  # type: ignore[no-untyped-def]
                con.execute(f"CREATE TEMP TABLE changes AS {rows}")
                query = (
                    f"SELECT {names} FROM {scan_sql(table)} AS b ANTI JOIN changes USING ({keys}) "
                    f"UNION ALL SELECT {names} FROM changes WHERE _cdc_op <> 'D'"
                )
                table.overwrite(con.execute(query).to_arrow_reader(131_072).cast(table.schema().as_arrow()))

            seconds.append(timed(overwrite))
    return Answer(seconds)


if __name__ == "__main__":
    serve(rewrite)
