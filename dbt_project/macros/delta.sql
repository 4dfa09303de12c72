{#- The `delta` materialization: the model's rows become staged Parquet files of one Delta table, and a view
    over (published rows outside the window + staged rows), so that tests and downstream models of this dbt
    run see them. Nobody else does: `asgard_publish` makes them visible when the tests have passed.
      config(materialized='delta', partition_by='ds')   one partition a day; vars min_date and max_date
      config(materialized='delta')                      the whole table is replaced -#}
{% materialization delta, adapter="duckdb" %}
  {%- set target = this.incorporate(type='view') -%}
  {%- set rows = api.Relation.create(identifier=this.identifier ~ '__asgard_rows') -%}
  {%- set partition_by = config.get('partition_by') -%}
  {{ run_hooks(pre_hooks) }}
  {% call statement('main') %}
    create or replace temp view {{ rows.identifier }} as (
      {{ compiled_code }}
    )
  {% endcall %}
  {% set contract = config.get('contract') %}
  {% if contract and contract.enforced %}{% do get_assert_columns_equivalent(compiled_code) %}{% endif %}
  {% do adapter.store_relation('asgard', target, [], '', 'delta', {
      'action': 'stage',
      'unique_id': model.unique_id,
      'rows': rows.identifier,
      'partition_by': partition_by,
      'window': [min_date(), max_date()] if partition_by else none,
  }) %}
  {% call statement('drop') %} drop view if exists temp.{{ rows.identifier }} {% endcall %}
  {{ run_hooks(post_hooks) }}
  {{ adapter.commit() }}
  {{ return({'relations': [target]}) }}
{% endmaterialization %}


{#- on-run-start: refuse what cannot work, show every Delta input that this run does not build itself. -#}
{% macro asgard_begin() %}
  {%- if execute -%}
    {%- do adapter.store_relation('asgard', api.Relation.create(identifier='asgard'), [], '', 'delta', {
        'action': 'begin',
        'command': flags.WHICH,
        'full_refresh': flags.FULL_REFRESH,
        'selected': selected_resources,
        'graph': graph,
    }) -%}
  {%- endif -%}
{% endmacro %}


{#- on-run-end: publish what passed, discard the rest, write target/asgard_publish.json. -#}
{% macro asgard_publish(results) %}
  {%- if execute -%}
    {%- set answer = {
        'action': 'publish',
        'invocation_id': invocation_id,
        'results': results,
        'graph': graph,
        'messages': [],
        'errors': [],
    } -%}
    {%- do adapter.store_relation('asgard', api.Relation.create(identifier='asgard'), [], '', 'delta', answer) -%}
    {%- for message in answer.messages -%}{%- do log(message, info=true) -%}{%- endfor -%}
    {%- if answer.errors -%}{%- do exceptions.raise_compiler_error(answer.errors | join('\n')) -%}{%- endif -%}
  {%- endif -%}
{% endmacro %}
