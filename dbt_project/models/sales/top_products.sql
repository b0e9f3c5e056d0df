-- Products by what they earned; rank 1 earned most. Cancelled and returned orders are no sales.
select
    row_number() over (order by sum(amount) desc, product_id) as sales_rank,
    product_id,
    any_value(product_name) as product_name,
    any_value(product_category) as product_category,
    count(*) as orders,
    sum(quantity) as units,
    sum(amount) as revenue
from {{ ref('current_orders') }}
where {{ is_sale('status') }}
group by product_id
order by sales_rank
