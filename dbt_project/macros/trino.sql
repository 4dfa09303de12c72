{#- The `delta` materialization on Trino, whose Delta connector publishes by itself: one commit a table, tested
    after it. Days are replaced by one MERGE, which needs the model's unique_key. -#}
{% materialization delta, adapter="trino" %}
  {%- set target = this.incorporate(type='table') -%}
  {%- set location = var('lake') ~ '/' ~ this.schema ~ '/' ~ this.identifier -%}
  {%- set by_days = config.get('partition_by') -%}
  {%- if by_days and should_full_refresh() -%}
    {%- do exceptions.raise_compiler_error(this.identifier ~ " is built by days: --full-refresh would leave only this window. Give the whole range by min_date and max_date instead") -%}
  {%- endif -%}
  {%- if config.get('incremental_strategy') not in [none, 'replace'] -%}
    {%- do exceptions.raise_compiler_error(this.identifier ~ ": on Trino delta knows no incremental_strategy but replace") -%}
  {%- endif -%}
  {%- if by_days and not config.get('unique_key') -%}
    {%- do exceptions.raise_compiler_error(this.identifier ~ ": on Trino a model by days needs config(unique_key=…), by which its rows are replaced") -%}
  {%- endif -%}
  {%- set existing = load_cached_relation(this) -%}
  {{ run_hooks(pre_hooks) }}
  {% if existing is none or not by_days %}
    {% call statement('main') %}
      create or replace table {{ target }}
      with (location = '{{ location | replace("'", "''") }}'{% if by_days %}, partitioned_by = array['ds']{% endif %})
      as {{ compiled_code }}
    {% endcall %}
  {% else %}
    {%- set columns = adapter.get_columns_in_relation(existing) | map(attribute='quoted') | list -%}
    {%- set window = "ds between '" ~ min_date() ~ "' and '" ~ max_date() ~ "'" -%}
    {%- set key = config.get('unique_key') -%}
    {%- set key = [key] if key is string else key -%}
    {% call statement('main') %}
      merge into {{ target }} as t using (
        select {{ columns | join(', ') }}, false as gone from ({{ compiled_code }})
        union all
        select {{ columns | join(', ') }}, true from {{ target }} where {{ window }}
      ) as s
      on s.gone and t.{{ window }} and t.ds = s.ds
        {%- for column in key if column != 'ds' %} and t.{{ column }} = s.{{ column }}{% endfor %}
      when matched then delete
      when not matched and not s.gone then insert ({{ columns | join(', ') }})
        values ({% for column in columns %}s.{{ column }}{{ ", " if not loop.last }}{% endfor %})
    {% endcall %}
  {% endif %}
  {{ run_hooks(post_hooks) }}
  {{ return({'relations': [target]}) }}
{% endmaterialization %}


{#- on-run-start: Trino's catalog learns of the lake's tables: every source, and the models that another engine
    published (`published` in vars, which Dagster gives: a list of schema/name). -#}
{% macro trino_register() %}
  {%- if execute and target.type == 'trino' and flags.WHICH in ['build', 'run', 'test', 'seed', 'snapshot'] -%}
    {%- set nodes = graph.sources.values() | list -%}
    {%- for node in graph.nodes.values() if node.config.materialized == 'delta' -%}
      {%- if (node.schema ~ '/' ~ (node.alias or node.name)) in var('published', []) -%}{%- do nodes.append(node) -%}{%- endif -%}
    {%- endfor -%}
    {%- for node in nodes -%}
      {%- set name = node.identifier or node.alias or node.name -%}
      {%- do run_query("create schema if not exists " ~ target.database ~ "." ~ node.schema) -%}
      {%- if adapter.get_relation(target.database, node.schema, name) is none -%}
        {%- set location = var('lake') ~ '/' ~ node.schema ~ '/' ~ name -%}
        {%- do run_query("call " ~ target.database ~ ".system.register_table('" ~ node.schema ~ "', '" ~ name ~ "', '" ~ location ~ "')") -%}
        {%- do adapter.cache_added(api.Relation.create(database=target.database, schema=node.schema, identifier=name, type='table')) -%}
      {%- endif -%}
    {%- endfor -%}
  {%- endif -%}
{% endmacro %}
