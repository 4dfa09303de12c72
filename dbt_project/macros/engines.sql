{#- What DuckDB and Trino write differently. -#}

{#- A relation with one column `d`: the days from `first` to `last`, both included. -#}
{% macro all_days(first, last) %}{{ return(adapter.dispatch('all_days')(first, last)) }}{% endmacro %}
{% macro default__all_days(first, last) -%}
generate_series(date '{{ first }}', date '{{ last }}', interval 1 day) as t(d)
{%- endmacro %}
{% macro trino__all_days(first, last) -%}
unnest(sequence(date '{{ first }}', date '{{ last }}', interval '1' day)) as t(d)
{%- endmacro %}

{#- A window function that looks past nulls: the last value known so far. -#}
{% macro last_known(column, over) %}{{ return(adapter.dispatch('last_known')(column, over)) }}{% endmacro %}
{% macro default__last_known(column, over) %}last_value({{ column }} ignore nulls) over {{ over }}{% endmacro %}
{% macro trino__last_known(column, over) %}last_value({{ column }}) ignore nulls over {{ over }}{% endmacro %}
