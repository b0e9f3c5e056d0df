{{ current_rows('retail', 'productorder') }}
