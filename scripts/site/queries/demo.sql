-- Whether `make demo` filled this database, and what of it is synthetic.
select string_agg(symbol, ', ' order by symbol) as synthetic
from ops.demo
where is_synthetic
