-- Samples from two hours before the bars on; 0 means one without a value, which is an error of the source.
select
    sampled_at,
    coalesce(value, 0) as value,
    extract(epoch from usable_until - sampled_at) / 2 as period
from intermediate.int_futures_samples
where
    symbol = %(symbol)s
    and asset_class = %(asset_class)s
    and measure = 'open_interest'
    and sampled_at between %(first)s::timestamptz - interval '10 days' and %(last)s
order by sampled_at
