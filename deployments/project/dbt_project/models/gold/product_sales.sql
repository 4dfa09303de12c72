{{ config(materialized='delta', partition_by='ds', unique_key=['product_id']) }}
{#- A row for each product and day of the run. A day only reads orders up to that day. -#}
with days as (
    select cast(d as date) as day
    from generate_series(date '{{ min_date() }}', date '{{ max_date() }}', interval 1 day) as t(d)
),

orders as (
    select product_id, quantity, price, cast(ds as date) as day
    from {{ source('silver', 'orders') }}
    where ds between '{{ day_before(min_date(), 6) }}' and '{{ max_date() }}'
)

select
    o.product_id,
    cast(coalesce(sum(o.quantity) filter (where o.day = d.day), 0) as bigint) as units,
    cast(sum(o.quantity) as bigint) as units_7d,
    cast(coalesce(sum(o.quantity * o.price) filter (where o.day = d.day), 0) as double) as revenue,
    cast(d.day + interval 1 day as timestamp) at time zone 'UTC' as event_timestamp,
    cast(d.day + interval 1 day as timestamp) at time zone 'UTC' as created_at,
    cast(d.day as varchar) as ds
from days as d
inner join orders as o on o.day between d.day - interval 6 day and d.day
group by d.day, o.product_id
