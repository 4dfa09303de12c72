{#- The `delta` materialization: the model's rows go straight into staged Parquet files of one Delta table, and
    a view shows them to the tests and the models after it. Nobody else sees them before the run's end, when
    the adapter commits what passed. docs/dbt-delta.md lists the options. -#}
{% materialization delta, adapter="delta" %}
  {%- set target = this.incorporate(type='view') -%}
  {%- set rows = api.Relation.create(identifier=this.identifier ~ '__delta_rows') -%}
  {%- set existing = load_cached_relation(this) -%}
  {%- if existing is not none and existing.is_table -%}{%- do adapter.drop_relation(existing) -%}{%- endif -%}
  {{ run_hooks(pre_hooks) }}
  {% call statement('main') %}
    create or replace temp view {{ rows }} as (
      {{ compiled_code }}
    )
  {% endcall %}
  {% set contract = config.get('contract') %}
  {% if contract and contract.enforced %}{% do get_assert_columns_equivalent(compiled_code) %}{% endif %}
  {%- set second = ((model.config.meta.get('dagster') or {}).get('partitions') or {}).keys() | list | first or '' -%}
  {% do adapter.delta_stage(model, target, rows, {
      'partition_by': config.get('partition_by'),
      'every': (model.config.meta.get('dagster') or {}).get('every'),
      'window': [var('min_date', none), var('max_date', none)],
      'hours': [var('min_hour', none), var('max_hour', none)],
      'second': second,
      'value': var(second, none) if second else none,
      'strategy': config.get('incremental_strategy'),
      'unique_key': config.get('unique_key'),
      'on_schema_change': model.unrendered_config.get('on_schema_change'),
      'full_refresh': should_full_refresh(),
  }) %}
  {% call statement('drop') %} drop view if exists {{ rows }} {% endcall %}
  {{ run_hooks(post_hooks) }}
  {{ adapter.commit() }}
  {{ return({'relations': [target]}) }}
{% endmaterialization %}


{#- In a delta model that keeps rows (merge, append): were rows published before, which stay? -#}
{% macro delta_is_incremental() %}
  {%- if not execute -%}{{ return(false) }}{%- endif -%}
  {{ return(not should_full_refresh() and load_relation(this) is not none) }}
{% endmacro %}


{#- on-run-start: refuse what cannot work; show what this run reads and does not build. -#}
{% macro delta_begin() %}
  {%- if execute -%}{%- do adapter.delta_begin(graph, selected_resources, flags.WHICH, flags.FULL_REFRESH) -%}{%- endif -%}
{% endmacro %}
