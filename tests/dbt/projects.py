"""dbt projects in the shape of public ones, each a mapping of file to text."""

_ORDERS = """
id,user_id,order_date,status
1,1,2018-01-01,returned
2,1,2018-01-02,completed
3,2,2018-01-04,completed
"""

SHOP = {
    "dbt_project.yml": """
name: 'shop'
config-version: 2
version: '0.1'
profile: 'shop'
model-paths: ["models"]
seed-paths: ["seeds"]
test-paths: ["tests"]
analysis-paths: ["analyses"]
macro-paths: ["macros"]
target-path: "target"
clean-targets: ["target", "dbt_modules", "logs"]
models:
  shop:
    materialized: table
    staging:
      materialized: view
""",
    "seeds/raw_customers.csv": "id,first_name,last_name\n1,Michael,P.\n2,Shawn,O'Neil\n3,Kathleen,P.\n",
    "seeds/raw_orders.csv": _ORDERS.lstrip("\n"),
    "seeds/raw_payments.csv": "id,order_id,payment_method,amount\n1,1,credit_card,1000\n2,2,coupon,2300\n3,3,gift_card,2000\n",
    "models/staging/stg_customers.sql": """
with source as (

    {#-
    Normally we would select from the table here, but we are using seeds to load
    our data in this project
    #}
    select * from {{ ref('raw_customers') }}

),

renamed as (select id as customer_id, first_name, last_name from source)

select * from renamed
""",
    "models/staging/stg_orders.sql": """
with source as (select * from {{ ref('raw_orders') }}),
renamed as (select id as order_id, user_id as customer_id, order_date, status from source)
select * from renamed
""",
    "models/staging/stg_payments.sql": """
with source as (select * from {{ ref('raw_payments') }}),
renamed as (select id as payment_id, order_id, payment_method, {{ cents_to_dollars('amount') }} as amount from source)
select * from renamed
""",
    "models/staging/schema.yml": """
version: 2
models:
  - name: stg_customers
    columns:
      - name: customer_id
        tests:
          - unique
          - not_null
  - name: stg_payments
    columns:
      - name: payment_method
        tests:
          - accepted_values:
              values: ['credit_card', 'coupon', 'bank_transfer', 'gift_card']
""",
    "models/orders.sql": """
{% set payment_methods = ['credit_card', 'coupon', 'bank_transfer', 'gift_card'] %}
with orders as (select * from {{ ref('stg_orders') }}),
payments as (select * from {{ ref('stg_payments') }}),
order_payments as (
    select
        order_id,
        {% for payment_method in payment_methods -%}
        sum(case when payment_method = '{{ payment_method }}' then amount else 0 end) as {{ payment_method }}_amount,
        {% endfor -%}
        sum(amount) as total_amount
    from payments
    group by order_id
)
select
    orders.order_id, orders.customer_id, orders.order_date, orders.status,
    {% for payment_method in payment_methods -%}
    order_payments.{{ payment_method }}_amount,
    {% endfor -%}
    order_payments.total_amount as amount
from orders
left join order_payments on orders.order_id = order_payments.order_id
""",
    "models/customers.sql": """
with customers as (select * from {{ ref('stg_customers') }}),
orders as (select * from {{ ref('orders') }}),
customer_orders as (
    select customer_id, min(order_date) as first_order, count(order_id) as number_of_orders,
        sum(amount) as customer_lifetime_value
    from orders
    group by customer_id
)
select customers.customer_id, customers.first_name, customers.last_name, customer_orders.first_order,
    customer_orders.number_of_orders, customer_orders.customer_lifetime_value
from customers
left join customer_orders on customers.customer_id = customer_orders.customer_id
""",
    "models/schema.yml": """
version: 2
models:
  - name: customers
    description: This table has basic information about a customer, derived from their orders
    columns:
      - name: customer_id
        description: This is a unique identifier for a customer
        tests: [unique, not_null]
  - name: orders
    description: '{{ doc("orders") }}'
    columns:
      - name: order_id
        tests: [unique, not_null]
      - name: customer_id
        tests:
          - not_null
          - relationships:
              to: ref('customers')
              field: customer_id
""",
    "models/docs.md": "{% docs orders %}\nOne row an order.\n{% enddocs %}\n",
    "macros/cents_to_dollars.sql": """
{% macro cents_to_dollars(column_name) -%}
    {{ return(adapter.dispatch('cents_to_dollars')(column_name)) }}
{%- endmacro %}
{% macro default__cents_to_dollars(column_name) %}({{ column_name }} / 100){% endmacro %}
""",
    "tests/orders_have_customers.sql": """
select o.order_id from {{ ref('orders') }} as o
left join {{ ref('stg_customers') }} as c using (customer_id) where c.customer_id is null
""",
    "analyses/by_month.sql": "select date_trunc('month', order_date), sum(amount) from {{ ref('orders') }} group by 1\n",
}

SOURCED = {
    "dbt_project.yml": """
name: sourced
version: "3.0.0"
profile: shop
require-dbt-version: [">=1.5.0", "<2.0.0"]
dispatch:
  - macro_namespace: helpers
    search_order: [sourced, helpers]
seeds:
  sourced:
    +schema: raw
    items:
      +enabled: "{{ var('load_source_data', true) }}"
models:
  sourced:
    staging:
      +materialized: view
      +schema: staging
    marts:
      +materialized: table
""",
    "packages.yml": "packages:\n  - local: vendor/helpers\n",
    "vendor/helpers/dbt_project.yml": "name: helpers\nversion: '1.0'\nconfig-version: 2\nmacro-paths: [macros]\n",
    "vendor/helpers/macros/total.sql": """
{% macro total(column) %}{{ return(adapter.dispatch('total', 'helpers')(column)) }}{% endmacro %}
{% macro default__total(column) %}sum({{ column }}){% endmacro %}
{% macro duckdb__total(column) %}cast(sum({{ column }}) as integer){% endmacro %}
""",
    "macros/generate_schema_name.sql": """
{% macro generate_schema_name(custom_schema_name, node) %}
    {% set default_schema = target.schema %}
    {% if node.resource_type == 'seed' %}{{ custom_schema_name | trim }}
    {% elif custom_schema_name is none %}{{ default_schema }}
    {% else %}{{ default_schema }}_{{ custom_schema_name | trim }}
    {% endif %}
{% endmacro %}
""",
    "seeds/raw_items.csv": "id,kind,pieces\n1,a,1\n2,a,2\n3,b,3\n",
    "seeds/seeds.yml": """
seeds:
  - name: raw_items
    columns:
      - {name: id, data_tests: [unique]}
""",
    "models/staging/__sources.yml": """
version: 2
sources:
  - name: ecom
    schema: RAW
    description: E-commerce data
    freshness:
      warn_after: {count: 24, period: hour}
    tables:
      - name: raw_items
        description: One record per thing
""",
    "models/staging/stg_items.sql": "select id as item_id, kind, pieces from {{ source('ecom', 'raw_items') }}\n",
    # A table that is a source too, and reads one: three steps between which dbt sees no edge.
    "models/marts/__sources.yml": """
sources: [{name: marts, schema: gold, tables: [{name: item_totals}]}]
models:
  - name: stg_items
    columns:
      - name: item_id
        data_tests: [{relationships: {to: ref('raw_items'), field: id}}]
""",
    "models/marts/all_items.sql": "select sum(pieces)::integer as pieces from {{ source('marts', 'item_totals') }}\n",
    "models/marts/item_totals.sql": """
{% if target.type != 'duckdb' %}{{ exceptions.raise_compiler_error('this project is written for duckdb') }}{% endif %}
select kind, {{ helpers.total('pieces') }} as pieces from {{ ref('stg_items') }} group by kind
""",
}

EVERYTHING = {
    "dbt_project.yml": """
name: everything
version: "1.0"
profile: everything
flags: {send_anonymous_usage_stats: false}
vars:
  first_day: "2024-01-01"
on-run-start:
  - "create schema if not exists audit"
  - "create table if not exists audit.log (what varchar)"
on-run-end:
  - "{% for r in results %}{% endfor %}insert into audit.log values ('{{ results | length }}')"
snapshots:
  everything:
    +target_schema: snapshots
models:
  everything:
    +materialized: table
    +tags: ["nightly", "has space"]
""",
    "profiles.yml": """
everything:
  target: dev
  outputs:
    dev:
      type: delta
      threads: 4
""",
    "data/orders.csv": "id,state\n1,new\n2,new\n",
    "models/sources.yml": """
version: 2
sources:
  - name: files
    meta:
      external_location: "data/{name}.csv"
    tables:
      - name: orders
        columns:
          - {name: id, data_tests: [unique]}
groups:
  - name: finance
    owner: {name: Finance, email: finance@example.com}
exposures:
  - name: board
    type: dashboard
    owner: {name: Ann, email: ann@example.com}
    depends_on: [ref('dim')]
models:
  - name: dim
    access: public
    group: finance
    latest_version: 2
    config:
      contract: {enforced: true}
    columns:
      - {name: id, data_type: bigint, constraints: [{type: not_null}]}
      - {name: state, data_type: varchar}
    versions:
      - v: 1
      - v: 2
  - name: metricflow_time_spine
    time_spine: {standard_granularity_column: day}
    columns:
      - {name: day, granularity: day}
  - name: events
    data_tests:
      - unique: {column_name: id, name: "events-are-unique.v1"}
semantic_models:
  - name: orders
    model: ref('dim')
    entities: [{name: order, type: primary, expr: id}]
    dimensions: [{name: created, type: time, expr: "current_date", type_params: {time_granularity: day}}]
    measures: [{name: orders, agg: count, expr: id, agg_time_dimension: created}]
metrics:
  - name: orders
    label: Orders
    type: simple
    type_params: {measure: orders}
""",
    "models/base.sql": "{{ config(materialized='ephemeral') }} select * from {{ source('files', 'orders') }}\n",
    "models/dim_v1.sql": "select id, state from {{ ref('base') }}\n",
    "models/dim_v2.sql": "select id, state from {{ ref('base') }}\n",
    "models/reads_dim.sql": "{{ config(materialized='view') }} select * from {{ ref('dim', v=1) }} union all select * from {{ ref('dim') }}\n",
    "models/quoted.sql": """
{{ config(alias='Orders By State') }}
select id, state as "Order State" from {{ ref('base') }}
""",
    "models/hooked.sql": """
{{ config(pre_hook="create table if not exists audit.log (what varchar)",
          post_hook=["insert into {{ this }} values ('post')"]) }}
select 'pre' as what
""",
    "models/spine.sql": "{{ config(tags='daily') }}\n{{ dbt_date_spine() }}\n",
    "models/metricflow_time_spine.sql": "select cast(range as date) as day from range(date '2024-01-01', date '2024-01-05', interval 1 day)\n",
    "macros/spine.sql": """
{% macro dbt_date_spine() %}
{%- set days = run_query("select count(*) from range(3)") -%}
select cast('{{ var("first_day") }}' as date) + cast(n as integer) as day, 1 as n
from range({{ days.columns[0].values()[0] if execute else 0 }}) as t(n)
{% endmacro %}
""",
    "models/py_model.py": """
def model(dbt, session):
    dbt.config(materialized="table")
    return dbt.ref("dim_ids").project("id * 2 as doubled")
""",
    "models/dim_ids.sql": "select id from {{ ref('base') }} where id < 3\n",
    "models/events.sql": """
{{ config(materialized='incremental', unique_key='id', on_schema_change='append_new_columns') }}
select o.id, {% if is_incremental() %}coalesce(t.runs, 0) + 1{% else %}1{% endif %} as runs
from {{ ref('base') }} as o
{% if is_incremental() %}left join {{ this }} as t using (id){% endif %}
""",
    "models/types.sql": """
select 1::hugeint as huge, timestamp '2024-01-01 00:00:00' as naive, time '10:00' as clock, uuid() as u,
    [1, 2] as numbers, {'a': 1} as pair, date '2024-01-01' as ds
""",
    "snapshots/orders_snapshot.sql": """
{% snapshot orders_snapshot %}
{{ config(unique_key='id', strategy='check', check_cols=['state']) }}
select * from {{ ref('base') }}
{% endsnapshot %}
""",
    "analyses/unused.sql": "select * from {{ ref('dim') }}\n",
}

CORNERS = {
    "dbt_project.yml": "name: corners\nversion: '1.0'\nprofile: shop\nmodels: {corners: {+materialized: table}}\n",
    "models/orders.sql": "select unnest(range({{ var('rows', 1) }})) as id\n",
    "models/orders/by_day.sql": "{{ config(group='sales') }} select * from {{ ref('orders') }}\n",
    "models/my reports/late.sql": "{{ config(meta={'dagster': {'group': 'reports'}}) }} select 1 as id\n",
    "models/unused.sql": "{{ config(tags='never') }} select * from {{ ref('orders') }}\n",
    "models/groups.yml": "groups: [{name: sales, owner: {email: sales@example.com}}]\n",
    "models/batches.sql": """
{{ config(materialized='incremental', incremental_strategy='microbatch', event_time='moment', batch_size='day',
          begin='2026-10-01', lookback=0) }}
select moment, {{ var('rows', 1) }} as rows
from range(timestamp '2026-10-01 10:00', timestamp '2026-10-09', interval 1 day) as t(moment)
""",
}
