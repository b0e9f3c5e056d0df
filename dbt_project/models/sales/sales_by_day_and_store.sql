-- What each store sold on each day (UTC). Cancelled and returned orders are no sales.
select
    cast(ordered_at at time zone 'UTC' as date) as day,
    store_id,
    any_value(store_name) as store_name,
    any_value(store_region) as store_region,
    count(*) as orders,
    sum(quantity) as units,
    sum(amount) as revenue
from {{ ref('current_orders') }}
where {{ is_sale('status') }}
group by day, store_id
