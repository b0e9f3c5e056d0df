{#- The current snapshot of a base table. `source()` makes the dependency known to dbt (and to Dagster); the data
    is read from the metadata file the build was given for it. -#}
{% macro base_table(source_name, table_name) -%}
  {%- do source(source_name, table_name) -%}
  {%- set name = source_name ~ '.' ~ table_name -%}
  {%- set location = var('base_tables').get(name) -%}
  {%- if execute and not location and flags.WHICH not in ('parse', 'list', 'docs') -%}
    {{ exceptions.raise_compiler_error(
        "base table " ~ name ~ " has no snapshot to read: merge it first (cdc apply), and build by `cdc` or Dagster, "
        ~ "which hand over the var base_tables") }}
  {%- endif -%}
  iceberg_scan('{{ (location or name) | replace("'", "''") }}')
{%- endmacro %}


{#- The rows of a base table as the source has them now: no control columns, no soft-deleted rows. Columns the
    source adds later come through by themselves. -#}
{% macro current_rows(source_name, table_name) -%}
  select columns(column_name -> not starts_with(column_name, '_cdc_'))
  from {{ base_table(source_name, table_name) }}
  where _cdc_op <> 'D'
{%- endmacro %}
