select day, store_id from {{ ref('sales_by_day_and_store') }} group by day, store_id having count(*) > 1
