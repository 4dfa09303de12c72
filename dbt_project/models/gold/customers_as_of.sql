{{ config(materialized='ephemeral') }}
{#- One row per customer and day of the window: the customer's version that was valid on that day. -#}
with days as (
    select cast(d as date) as day
    from generate_series(date '{{ min_date() }}', date '{{ max_date() }}', interval 1 day) as t(d)
),

versions as (
    select
        customer_id,
        plan,
        country,
        cast(ds as date) as valid_from,
        lead(cast(ds as date)) over (partition by customer_id order by ds) as valid_to
    from {{ source('silver', 'customers') }}
    where ds <= '{{ max_date() }}'
)

select v.customer_id, v.plan, v.country, days.day, strftime(days.day, '%Y-%m-%d') as ds
from versions as v
inner join days on days.day >= v.valid_from and (v.valid_to is null or days.day < v.valid_to)
