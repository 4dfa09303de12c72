"""A project that uses what dbt offers: each feature once, and what people do with it beside the graph."""

from tests.dbt.comparing import PROFILES

STRANGER = {
    "profiles.yml": PROFILES,
    "dbt_project.yml": """
name: stranger
version: '1.0'
profile: plain
vars: {turn: 1, threshold: 10}
flags: {require_generic_test_arguments_property: true}
on-run-start: ["{{ log('begin', info=false) }}", "create schema if not exists ops", "create table if not exists ops.runs (turn varchar, what varchar)"]
on-run-end: ["insert into ops.runs values ('{{ var('turn') }}', 'end')", "insert into {{ ref('audit_log') }} select '{{ var('turn') }}', {{ results | length }} > 0"]
seeds:
  stranger:
    +schema: raw
    countries: {+column_types: {code: varchar(2), population: bigint, founded: date, share: 'decimal(6,3)'}, +delimiter: ';', +quote_columns: true}
models:
  stranger:
    +materialized: table
    staging: {+materialized: view, +tags: [staging]}
    mart: {+schema: mart, +tags: [mart, nightly], +persist_docs: {relation: true, columns: true}}
snapshots:
  stranger: {+schema: snap}
data_tests:
  stranger: {+store_failures_as: table, +schema: failures}
""",
    "seeds/countries.csv": "code;population;founded;share\nDE;83000000;1871-01-18;1.125\nFR;67000000;0843-08-10;2.5\nNO;5400000;;\n",
    "seeds/types.csv": 'id,flag,when_at,day,amount,txt\n1,true,2026-01-01 10:00:00,2026-01-01,1.50,a\n2,false,2026-01-02 11:30:00,2026-01-02,2,"b,c"\n3,,,,,\n',
    "seeds/props.yml": "seeds: [{name: types, config: {alias: raw_types}, columns: [{name: id, data_tests: [unique, not_null]}]}]",
    "macros/names.sql": """
{% macro generate_schema_name(custom_schema_name, node) %}{% if custom_schema_name is none %}{{ target.schema }}{% else %}{{ target.schema }}__{{ custom_schema_name | trim }}{% endif %}{% endmacro %}
{% macro generate_alias_name(custom_alias_name=none, node=none) %}{% if custom_alias_name %}{{ custom_alias_name | trim }}{% elif node.version %}{{ node.name ~ '_ver' ~ node.version }}{% else %}{{ node.name }}{% endif %}{% endmacro %}
{% macro cleanup(table) %}{% do run_query('delete from ' ~ ref(table) ~ ' where id > 100') %}{{ log('cleaned', info=true) }}{% endmacro %}
{% macro make_ops() %}{% do run_query('create schema if not exists ops') %}{% do run_query('create or replace table ops.made as select 42 as n') %}{% endmacro %}
{% macro note_op(what) %}{% do run_query(note(what)) %}{% endmacro %}
{% macro note(what) %}insert into {{ ref('audit_log') }} values ('{{ what }}', true){% endmacro %}
{% test at_least_rows(model, n=1) %}{{ config(severity='warn', fail_calc='coalesce(sum(missing),0)', error_if='>1000') }} select {{ n }} - count(*) as missing from {{ model }} having count(*) < {{ n }}{% endtest %}
""",
    "models/staging/stg_countries.sql": "select * from {{ ref('countries') }}",
    "models/staging/stg_types.sql": "select *, day + interval 1 day as next_day from {{ ref('types') }}",
    "models/staging/eph.sql": "{{ config(materialized='ephemeral') }} select id, amount from {{ ref('stg_types') }} where id is not null",
    "models/audit_log.sql": "{{ config(materialized='incremental') }} select 'x' as run, true as good where false",
    "models/values_all.sql": """
select 1::tinyint as t, 2::utinyint as ut, 3::smallint as s, 4::usmallint as us, 5::integer as i, 6::uinteger as ui, 7::bigint as b, 8::ubigint as ub,
 9::hugeint as h, 10::uhugeint as uh, 1.5::float as f, 2.5::double as d, 'nan'::double as nan, 'infinity'::double as inf, 3.25::decimal(10,2) as de, 12345678901234567890.123456789::decimal(38,9) as big,
 'x'::varchar as v, 'ab'::blob as bl, true as bo, date '2026-01-01' as da, time '10:11:12.5' as ti, timestamp '2026-01-01 10:00:00.123456' as ts,
 timestamptz '2026-01-01 10:00:00+03' as tz, interval '1 year 2 months 3 days 04:05:06' as iv, uuid '4ac7a9e9-607c-4c8a-84f3-843f0191e3fd' as u,
 '101'::bit as bi, 'a'::enum('a','b') as en, [1,2,null] as li, [[1],[2,3]] as ll, {'a': 1, 'b': {'c': [date '2026-01-01']}} as st, map {'k': 1, 'l': null} as ma, [{'x': 1}, {'x': 2}] as ls,
 [1,2,3]::integer[3] as ar, '{"a": 1}'::json as js, null as nu, timestamp_ns '2026-01-01 00:00:00.123456' as tns, timestamp_s '2026-01-01 00:00:01' as tss, timestamp_ms '2026-01-01 00:00:01.123' as tms,
 '10:00:00+02'::timetz as ttz, [null] as lnull, {'e': 'a'::enum('a','b'), 'h': 3::hugeint} as ste, map {uuid '4ac7a9e9-607c-4c8a-84f3-843f0191e3fd': interval 1 day} as mu
""",
    "models/odd_dates.sql": "select d, d::varchar as said from (values (date '0001-01-01'), (date '9999-12-31'), (date '0044-03-15 (BC)'), (date '10000-01-01'), ('infinity'::date), ('-infinity'::date)) t(d)",
    "models/odd_moments.sql": "select d, d::varchar as said from (values (timestamp '0001-01-01'), (timestamp '9999-12-31 23:59:59.999999'), (timestamp '0044-03-15 (BC)'), (timestamp '10000-01-01'), ('infinity'::timestamp), ('-infinity'::timestamp)) t(d)",
    "models/odd_instants.sql": "select d, d::varchar as said from (values (timestamptz '0001-01-01 00:00:00+00'), (timestamptz '10000-01-01 00:00:00+00'), ('infinity'::timestamptz), ('-infinity'::timestamptz)) t(d)",
    "models/ranges.sql": "select * from (values ({'from': date '2026-01-01', 'to': 'infinity'::date}, ['infinity'::timestamp, timestamp '12000-01-01'])) t(span, many)",
    "models/nulls_only.sql": "select null::varchar as a, null::date as b, null::struct(x integer) as c, null::integer[] as d",
    "models/empty.sql": "select 1 as a, date '2026-01-01' as d, [1] as l where false",
    "models/mart/dim.sql": "select id, txt, amount from {{ ref('eph') }} left join {{ ref('stg_types') }} using (id, amount)",
    "models/mart/dim_v2.sql": "select id, txt, amount, 2 as ver from {{ ref('eph') }} left join {{ ref('stg_types') }} using (id, amount)",
    "models/mart/latest.sql": "select * from {{ ref('dim') }}",
    "models/mart/first.sql": "select * from {{ ref('dim', v=1) }}",
    "models/mart/contracted.sql": "select id::integer as id, coalesce(txt, 'none')::varchar as txt, 3::decimal(10,2) as price from {{ ref('dim', v=1) }}",
    "models/mart/aliased.sql": "{{ config(alias='Aliased Table') }} select 1 as \"Id Col\", 2 as lower",
    "models/mart/inc_append.sql": "{{ config(materialized='incremental', incremental_strategy='append') }} select {{ var('turn') }} as turn, id from {{ ref('dim', v=1) }}",
    "models/mart/inc_di.sql": "{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='id') }} select {{ var('turn') }} as turn, id from {{ ref('dim', v=1) }} {% if is_incremental() %} where id > 1 {% endif %}",
    "models/mart/inc_merge.sql": "{{ config(materialized='incremental', incremental_strategy='merge', unique_key='id', merge_update_columns=['turn']) }} select {{ var('turn') }} as turn, id, {{ var('turn') }} as firstturn from {{ ref('dim', v=1) }} union all select {{ var('turn') }}, 1000 + {{ var('turn') }}, 0",
    "models/mart/inc_sync.sql": "{{ config(materialized='incremental', unique_key='id', on_schema_change='sync_all_columns') }} select 1 as id {% if var('turn') > 1 %}, 'new' as added{% else %}, 5 as gone{% endif %}",
    "models/mart/inc_pred.sql": "{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key=['id','turn'], incremental_predicates=['DBT_INTERNAL_DEST.turn < 3']) }} select {{ var('turn') }} % 2 as turn, id, {{ var('turn') }} as t from {{ ref('dim', v=1) }}",
    "models/mart/pyth.py": "def model(dbt, session):\n    dbt.config(materialized='table')\n    df = dbt.ref('types').df()\n    df['n'] = range(len(df))\n    return df[['id','n']]\n",
    "models/mart/hooked.sql": "{{ config(pre_hook=[\"{{ note('pre') }}\"], post_hook=[\"insert into {{ ref('audit_log') }} values ('post', true)\", \"insert into {{ this }} values (99)\"]) }} select 1 as id",
    "models/mart/indexed.sql": "{{ config(indexes=[{'columns': ['id'], 'unique': true}]) }} select 1 as id",
    "models/mart/nothing.sql": "{{ config(enabled=var('turn') > 5) }} select 1 as id",
    "models/models.yml": """
version: 2
groups: []
models:
  - name: dim
    latest_version: 2
    access: public
    group: finance
    versions: [{v: 1, defined_in: dim}, {v: 2}]
    columns: [{name: id, data_tests: [unique, not_null, {relationships: {arguments: {to: ref('types'), field: id}}}]}, {name: txt}, {name: amount}]
  - name: contracted
    config: {contract: {enforced: true}}
    constraints: [{type: check, expression: "price > 0"}]
    columns:
      - {name: id, data_type: integer, constraints: [{type: not_null}, {type: primary_key}]}
      - {name: txt, data_type: varchar, constraints: [{type: not_null}]}
      - {name: price, data_type: 'decimal(10,2)'}
  - name: eph
    columns: [{name: id, data_tests: [unique, {accepted_values: {arguments: {values: [1,2], quote: false}, config: {severity: warn, limit: 1}}}]}]
  - name: stg_types
    data_tests: [{at_least_rows: {arguments: {n: 100}}}]
    columns:
      - name: txt
        data_tests:
          - not_null: {config: {where: "id < 3"}}
          - not_null: {name: warned, config: {warn_if: '>0', error_if: '>10', store_failures: true}}
  - name: values_all
    columns: [{name: i, data_tests: [{accepted_values: {arguments: {values: ['5']}}}]}]
unit_tests:
  - name: eph_drops_null
    model: dim
    versions: {include: [1]}
    given: [{input: ref('eph'), format: sql, rows: "select 1 as id, 2::double as amount"}, {input: ref('stg_types'), rows: [{id: 1, amount: 2, txt: a}, {id: null, amount: 3}]}]
    expect: {rows: [{id: 1, txt: a, amount: 2}]}
""",
    "models/groups.yml": "groups: [{name: finance, owner: {name: Fin, email: fin@example.com}}]\nexposures: [{name: board, type: dashboard, owner: {name: B, email: b@example.com}, depends_on: [\"ref('latest')\", \"ref('inc_merge')\"]}]\n",
    "models/metricflow_time_spine.yml": """
models: [{name: time_spine, time_spine: {standard_granularity_column: day}, columns: [{name: day, granularity: day}]}]
semantic_models:
  - {name: sm, model: ref('latest'), defaults: {agg_time_dimension: on_day}, entities: [{name: id, type: primary}], dimensions: [{name: on_day, type: time, type_params: {time_granularity: day}, expr: "date '2026-01-01'"}], measures: [{name: total, agg: sum, expr: amount}]}
metrics: [{name: total, label: Total, type: simple, type_params: {measure: total}}]
saved_queries: [{name: sq, query_params: {metrics: [total]}, exports: []}]
""",
    "models/time_spine.sql": "select range::date as day from range(date '2026-01-01', date '2026-02-01', interval 1 day)",
    "snapshots/ts.sql": "{% snapshot ts %}{{ config(unique_key='id', strategy='timestamp', updated_at='moved') }} select * from (values (1, timestamp '2026-01-01 00:00:00' + interval ({{ var('turn') }}) day, 'v{{ var('turn') }}'), (2, timestamp '2026-01-01', 'same')) t(id, moved, v){% endsnapshot %}",
    "snapshots/chk.sql": "{% snapshot chk %}{{ config(unique_key='id', strategy='check', check_cols=['v'], hard_deletes='invalidate') }} select id, v, n from (values (1, 'v{{ var('turn') }}', {{ var('turn') }}), (2, 'same', 2) {% if var('turn') == 1 %}, (3, 'gone', 3){% endif %}) t(id, v, n){% endsnapshot %}",
    "snapshots/snaps.yml": "snapshots: [{name: yml, relation: ref('types'), config: {unique_key: id, strategy: check, check_cols: all, hard_deletes: new_record, dbt_valid_to_current: \"date '9999-12-31'\", snapshot_meta_column_names: {dbt_valid_from: vf, dbt_valid_to: vt}}}]",
    "tests/singular_none.sql": "select 1 as bad where false",
    "tests/singular_none_fails.sql": "{{ config(severity='warn') }} select 7 as bad",
    "tests/singular_two.sql": "select * from {{ ref('latest') }} l join {{ ref('first') }} f using (id) where l.amount <> f.amount",
    "analyses/an.sql": "select count(*) from {{ ref('latest') }}",
}
