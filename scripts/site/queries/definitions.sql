-- The columns of market_data_v2 with their doc blocks, which dbt keeps as comments.
select
    attname as name,
    format_type(atttypid, atttypmod) as data_type,
    col_description(attrelid, attnum) as comment
from pg_attribute
where attrelid = 'marts.market_data_v2'::regclass and attnum > 0 and not attisdropped
order by attnum
