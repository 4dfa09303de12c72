{{ config(materialized='ephemeral') }}
{#- One row per customer and day of the window: the customer's version that was valid on that day. -#}
with days as (
    select cast(d as date) as day
    from {{ all_days(min_date(), max_date()) }}
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

select v.customer_id, v.plan, v.country, days.day, cast(days.day as varchar) as ds
from versions as v
inner join days on days.day >= v.valid_from and (v.valid_to is null or days.day < v.valid_to)
