{{ config(materialized='delta', partition_by='ds', unique_key=['country', 'plan']) }}
with customers as (
    select
        c.ds,
        c.customer_id,
        coalesce(c.country, 'unknown') as country,
        coalesce(c.plan, 'unknown') as plan,
        m.subscription,
        m.sessions_7d,
        m.unpaid_amount
    from {{ ref('customers_as_of') }} as c
    inner join {{ ref('customer_metrics') }} as m on c.customer_id = m.customer_id and c.ds = m.ds
    where m.ds between '{{ min_date() }}' and '{{ max_date() }}'
),

invoices as (
    select
        ds,
        customer_id,
        count(*) as invoices,
        sum(amount) as invoiced,
        sum(amount) filter (where paid) as paid
    from {{ source('silver', 'invoices') }}
    where
        ds between '{{ min_date() }}' and '{{ max_date() }}'
        -- Older ones are open items that accounting has handed over: no revenue of the day.
        and cast(issued_at as date) > cast(ds as date) - interval '7' day
    group by ds, customer_id
)

select
    c.country,
    c.plan,
    count(*) as customers,
    count(*) filter (where c.subscription = 'active') as subscribed_customers,
    count(*) filter (where c.sessions_7d > 0) as active_customers,
    cast(coalesce(sum(i.invoices), 0) as bigint) as invoices,
    cast(coalesce(sum(i.invoiced), 0) as decimal(18, 2)) as invoiced_amount,
    cast(coalesce(sum(i.paid), 0) as decimal(18, 2)) as paid_amount,
    cast(sum(cast(c.unpaid_amount as decimal(18, 2))) as decimal(18, 2)) as outstanding_amount,
    c.ds
from customers as c
left join invoices as i on c.ds = i.ds and c.customer_id = i.customer_id
group by c.ds, c.country, c.plan
