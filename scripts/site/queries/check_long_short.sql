-- Samples of the share of accounts that are long.
select
    sampled_at,
    value as long_account,
    1 - value as short_account,
    extract(epoch from usable_until - sampled_at) / 2 as period
from intermediate.int_futures_samples
where
    symbol = %(symbol)s
    and asset_class = %(asset_class)s
    and measure = 'long_short_ratio'
    and sampled_at between %(first)s::timestamptz - interval '10 days' and %(last)s
order by sampled_at
