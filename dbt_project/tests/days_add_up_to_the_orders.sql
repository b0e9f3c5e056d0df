-- No sale is lost or counted twice on the way from orders to days: returns a row when the totals differ.
with orders as (
    select count(*) as orders, sum(quantity) as units, sum(amount) as revenue
    from {{ ref('current_orders') }}
    where {{ is_sale('status') }}
),
days as (
    select sum(orders) as orders, sum(units) as units, sum(revenue) as revenue
    from {{ ref('sales_by_day_and_store') }}
)
select * from orders cross join days
where orders.orders is distinct from coalesce(days.orders, 0)
   or orders.units is distinct from days.units
   or orders.revenue is distinct from days.revenue
