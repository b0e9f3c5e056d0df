{#- Whether an order with this status counts as sold. -#}
{% macro is_sale(status) -%}
  coalesce({{ status }}, '') not in ('cancelled', 'returned')
{%- endmacro %}
