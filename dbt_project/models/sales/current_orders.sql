-- Every order as it stands now, with what its product and store are called now. A product or store that is gone
-- from the source leaves its order here, with empty names.
select
    o.order_id,
    o.ordered_at,
    o.status,
    o.quantity,
    o.unit_price,
    o.quantity * o.unit_price as amount,
    o.product_id,
    p.name as product_name,
    p.category as product_category,
    o.store_id,
    s.name as store_name,
    s.city as store_city,
    s.region as store_region
from {{ ref('stg_productorder') }} as o
left join {{ ref('stg_product') }} as p on o.product_id = p.product_id
left join {{ ref('stg_store') }} as s on o.store_id = s.store_id
