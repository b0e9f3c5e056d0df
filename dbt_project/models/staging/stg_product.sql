{{ current_rows('retail', 'product') }}
