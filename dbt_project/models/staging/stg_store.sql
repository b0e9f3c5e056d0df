{{ current_rows('retail', 'store') }}
