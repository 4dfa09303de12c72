{{ config(materialized='delta', partition_by='ds', unique_key=['customer_id']) }}
{#- A day sees only what was known when it ended: source rows with ds up to that day. So a day computed alone
    equals the same day computed within a range. Money is summed as decimals: doubles would depend on order. -#}
{%- set first, last = "date '" ~ min_date() ~ "'", "date '" ~ max_date() ~ "'" %}
{%- set month_before = day_before(min_date(), 30) %}

with customers as (
    select * from {{ ref('customers_as_of') }}
),

-- Purchases and invoices: events that change a running total, over all history.
purchases as (
    select
        purchase_id,
        min_by(customer_id, ds) filter (where customer_id is not null) as customer_id,
        cast(min_by(price, ds) filter (where price is not null) as decimal(18, 2)) as price,
        greatest(
            cast(min(ds) as date),
            coalesce(cast(min_by(purchased_at, ds) filter (where purchased_at is not null) as date), cast(min(ds) as date))
        ) as day,
        min(greatest(cast(ds as date), cast(returned_at as date))) filter (where returned_at is not null) as returned_on
    from {{ source('silver', 'purchases') }}
    where ds <= '{{ max_date() }}'
    group by purchase_id
),

invoice_versions as (
    select
        customer_id,
        amount,
        paid,
        cast(ds as date) as day,
        cast(issued_at as date) as issued_on,
        cast(lead(ds) over (partition by invoice_id order by ds) as date) as replaced_on
    from {{ source('silver', 'invoices') }}
    where ds <= '{{ max_date() }}'
),

invoices as (select * from invoice_versions where not coalesce(paid, false)),

changes as (
    select customer_id, day, 1 as orders, price as bought, price as kept, day as bought_on, 0 as opened, 0.00 as unpaid
    from purchases
    union all
    select customer_id, greatest(day, returned_on), 0, 0, -price, null, 0, 0 from purchases where returned_on is not null
    union all
    select customer_id, day, 0, 0, 0, null, 1, amount from invoices
    union all
    select customer_id, replaced_on, 0, 0, 0, null, -1, -amount from invoices where replaced_on is not null
),

totals as (
    select
        customer_id,
        day,
        lead(day) over so_far as next_day,
        sum(sum(orders)) over so_far as orders,
        sum(sum(bought)) over so_far as total_purchases,
        sum(sum(kept)) over so_far as lifetime_value,
        max(max(bought_on)) over so_far as last_purchase,
        sum(sum(opened)) over so_far as open_invoices,
        sum(sum(unpaid)) over so_far as unpaid_amount
    from changes
    where day <= {{ last }}
    group by customer_id, day
    window so_far as (partition by customer_id order by day)
),

-- Usage and tickets: sums over the last days, on a calendar without gaps.
calendar as (
    select
        c.customer_id,
        cast(d as date) as day,
        cast(cast(d as date) as varchar) as ds,
        date_diff('day', date '{{ month_before }}', cast(d as date)) as number
    from (select distinct customer_id from customers) as c
    cross join {{ all_days(month_before, max_date()) }}
),

usage as (
    select
        customer_id,
        ds,
        sum(sessions) as sessions,
        sum(cast(minutes as decimal(18, 4))) as minutes,
        sum(errors) as errors,
        max(subscription) as subscription
    from {{ source('silver', 'usage') }}
    where ds between '{{ month_before }}' and '{{ max_date() }}'
    group by customer_id, ds
),

earlier_usage as (
    select customer_id, max_by(subscription, ds) as subscription
    from {{ source('silver', 'usage') }}
    where ds < '{{ month_before }}'
    group by customer_id
),

tickets as (
    select
        customer_id,
        ds,
        count(distinct ticket_id) as tickets,
        count(distinct ticket_id) filter (where severity = 'high') as high_tickets
    from {{ source('silver', 'tickets') }}
    where ds between '{{ month_before }}' and '{{ max_date() }}'
    group by customer_id, ds
),

-- By their day of issue: billing may deliver an invoice later, such as the open items of before the first day.
recent_invoices as (
    select i.customer_id, d.day, count(*) as unpaid
    from (select distinct day from customers) as d
    inner join invoices as i
        on i.day <= d.day and (i.replaced_on is null or d.day < i.replaced_on)
        and i.issued_on <= d.day and i.issued_on > d.day - interval '28' day
    group by i.customer_id, d.day
),

activity as (
    select
        customer_id,
        day,
        coalesce(sum(u.sessions) over last_week, 0) as sessions_7d,
        coalesce(sum(u.minutes) over last_week, 0) as minutes_7d,
        coalesce(sum(u.errors) over last_week, 0) as errors_7d,
        coalesce(sum(u.sessions) over week_before, 0) as sessions_prev_7d,
        coalesce(sum(t.tickets) over last_month, 0) as tickets_30d,
        coalesce(sum(t.high_tickets) over last_month, 0) as high_tickets_30d,
        coalesce(sum(t.high_tickets) over last_two_weeks, 0) as high_tickets_14d,
        -- Sums of whole numbers, from which the slope of a line through the sessions of two weeks is calculated.
        count(u.sessions) over last_two_weeks as n,
        sum(u.sessions) over last_two_weeks as y,
        sum(u.sessions * 0 + number) over last_two_weeks as x,
        sum(u.sessions * number) over last_two_weeks as xy,
        sum(u.sessions * 0 + number * number) over last_two_weeks as xx,
        {{ last_known('u.subscription', 'so_far') }} as subscription
    from calendar
    left join usage as u using (customer_id, ds)
    left join tickets as t using (customer_id, ds)
    window
        last_week as (partition by customer_id order by day rows between 6 preceding and current row),
        week_before as (partition by customer_id order by day rows between 13 preceding and 7 preceding),
        last_two_weeks as (partition by customer_id order by day rows between 13 preceding and current row),
        last_month as (partition by customer_id order by day rows between 29 preceding and current row),
        so_far as (partition by customer_id order by day rows between unbounded preceding and current row)
)

select
    c.customer_id,
    cast(coalesce(t.orders, 0) as bigint) as orders,
    cast(coalesce(t.total_purchases, 0) as double) as total_purchases,
    cast(coalesce(t.lifetime_value, 0) as double) as lifetime_value,
    cast(date_diff('day', t.last_purchase, c.day) as bigint) as days_since_last_purchase,
    cast(a.sessions_7d as bigint) as sessions_7d,
    cast(a.minutes_7d as double) as minutes_7d,
    cast(a.sessions_prev_7d as bigint) as sessions_prev_7d,
    cast(a.sessions_7d - a.sessions_prev_7d as double) / greatest(a.sessions_prev_7d, 1) as usage_trend,
    coalesce(
        cast(a.n * a.xy - a.x * a.y as double) / nullif(a.n * a.xx - a.x * a.x, 0) / (cast(a.y as double) / a.n + 0.3), 0
    ) as usage_slope_14d,
    cast(a.errors_7d as bigint) as errors_7d,
    cast(a.errors_7d as double) / (a.sessions_7d + 2) as errors_per_session_7d,
    cast(a.tickets_30d as bigint) as tickets_30d,
    cast(a.high_tickets_30d as bigint) as high_tickets_30d,
    cast(a.high_tickets_14d as bigint) as high_tickets_14d,
    cast(coalesce(t.open_invoices, 0) as bigint) as open_invoices,
    cast(coalesce(t.unpaid_amount, 0) as double) as unpaid_amount,
    cast(coalesce(i.unpaid, 0) as bigint) as unpaid_invoices_28d,
    c.plan,
    coalesce(a.subscription, e.subscription, 'active') as subscription,
    cast(cast(c.day + interval '1' day as date) as timestamp with time zone) as event_timestamp,
    cast(cast(c.day + interval '1' day as date) as timestamp with time zone) as created_at,
    c.ds
from customers as c
inner join activity as a on c.customer_id = a.customer_id and c.day = a.day
left join totals as t
    on c.customer_id = t.customer_id and c.day >= t.day and (t.next_day is null or c.day < t.next_day)
left join recent_invoices as i on c.customer_id = i.customer_id and c.day = i.day
left join earlier_usage as e on c.customer_id = e.customer_id
where a.day >= {{ first }}
