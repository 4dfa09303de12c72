{#- The days that a run was asked for, both included. Dagster passes them; on the command line:
    --vars '{min_date: "2026-10-05", max_date: "2026-10-11"}' -#}
{% macro min_date() %}{{ return(asgard_day('min_date')) }}{% endmacro %}
{% macro max_date() %}{{ return(asgard_day('max_date')) }}{% endmacro %}

{% macro asgard_day(name) %}
  {%- set day = var(name, none) -%}
  {%- if day is none and execute and flags.WHICH not in ['generate', 'compile', 'docs'] -%}
    {%- do exceptions.raise_compiler_error("a model partitioned by ds is built for days: pass --vars '{min_date: \"2026-10-05\", max_date: \"2026-10-11\"}'") -%}
  {%- endif -%}
  {{ return((day or '1970-01-01') | string) }}
{% endmacro %}

{#- How long the partitions of a node are: `every` of its meta.dagster, by default a day. -#}
{% macro window_length(node) %}
  {{ return((node.config.get('meta', {}).get('dagster') or {}).get('every') or 'day') }}
{% endmacro %}

{#- The window of this model that a row of an hour or a day lies in: its `ds`. -#}
{% macro window_of(column='ds') %}
  {%- set every = window_length(model) -%}
  {%- if every == 'hour' -%}{{ return(column) }}{%- endif -%}
  {%- set day = 'substr(' ~ column ~ ', 1, 10)' -%}
  {{ return(day if every == 'day' else "cast(cast(date_trunc('" ~ every ~ "', cast(" ~ day ~ " as date)) as date) as varchar)") }}
{% endmacro %}

{#- Whether a row of an hour or a day lies in the windows that this run builds. -#}
{% macro in_windows(column='ds', node=none) %}
  {%- if window_length(node or model) == 'hour' -%}
    {%- set first, last = var('min_hour', none) or min_date() ~ 'T00', var('max_hour', none) or max_date() ~ 'T24' -%}
    {{ return(column ~ " between '" ~ first ~ "' and '" ~ last ~ "'") }}
  {%- endif -%}
  {{ return('substr(' ~ column ~ ", 1, 10) between '" ~ min_date() ~ "' and '" ~ max_date() ~ "'") }}
{% endmacro %}

{#- The window of this model in which something happened at the instant `column`: its `ds`, in the zone of the model. -#}
{% macro window_at(column) %}
  {%- set every = window_length(model) -%}
  {%- if every == 'hour' -%}{%- do exceptions.raise_compiler_error('window_at names days, weeks and months') -%}{%- endif -%}
  {{ return("cast(cast(date_trunc('" ~ every ~ "', cast(" ~ column ~ " as date)) as date) as varchar)") }}
{% endmacro %}

{#- Whether that lies in the windows that this run builds: for tables whose windows are cut by those of this model, such as
    days of another zone. -#}
{% macro in_windows_at(column) %}
  {{ return('cast(' ~ column ~ " as date) between date '" ~ min_date() ~ "' and date '" ~ max_date() ~ "'") }}
{% endmacro %}

{#- The column that cuts a model beside time (`partitions` of its meta.dagster); '' where there is none. -#}
{% macro partition_column(node=none) %}
  {%- set slices = ((node or model).config.get('meta', {}).get('dagster') or {}).get('partitions') or {} -%}
  {{ return(slices.keys() | list | first or '') }}
{% endmacro %}

{#- The value of that column which this run builds, such as eu. -#}
{% macro partition_value() %}
  {%- set column = partition_column() -%}
  {%- if not column and execute -%}{%- do exceptions.raise_compiler_error("partition_value: this model has no partitions in its meta.dagster") -%}{%- endif -%}
  {%- set value = var(column, none) if column else none -%}
  {%- if value is none and execute and flags.WHICH not in ['generate', 'compile', 'docs'] -%}
    {%- do exceptions.raise_compiler_error("a model with partitions is built for one " ~ column ~ " at a time: pass --vars '{" ~ column ~ ": eu}' too") -%}
  {%- endif -%}
  {{ return((value or '') | string) }}
{% endmacro %}

{#- The day `days` before another, as text. -#}
{% macro day_before(day, days) %}
  {{ return((modules.datetime.date.fromisoformat(day) - modules.datetime.timedelta(days=days)).isoformat()) }}
{% endmacro %}


{#- Generic tests on a partitioned model look at the days that this run builds: a bad day in the past does not
    stop today's. Without a window (`dbt test` alone) they look at the whole table. -#}
{% macro default__get_where_subquery(relation) -%}
  {%- set conditions = [] -%}
  {%- if config.get('where') -%}{%- do conditions.append('(' ~ config.get('where') ~ ')') -%}{%- endif -%}
  {%- if execute and var('min_date', none) and var('max_date', none) -%}
    {%- set node = graph.nodes.get(model.attached_node) -%}
    {%- if node and node.config.materialized == 'delta' and node.config.get('partition_by') -%}
      {%- do conditions.append(in_windows('ds', node)) -%}
      {%- set column = partition_column(node) -%}
      {%- if column and var(column, none) -%}{%- do conditions.append(column ~ " = '" ~ var(column) ~ "'") -%}{%- endif -%}
    {%- endif -%}
  {%- endif -%}
  {%- if conditions -%}
    {%- do return('(select * from ' ~ relation ~ ' where ' ~ conditions | join(' and ') ~ ') dbt_subquery') -%}
  {%- endif -%}
  {%- do return(relation) -%}
{%- endmacro %}


{#- A model's schema is the stage of the lake that its table belongs to, as written. -#}
{% macro generate_schema_name(custom_schema_name, node) -%}
  {{ custom_schema_name | trim if custom_schema_name else target.schema }}
{%- endmacro %}
