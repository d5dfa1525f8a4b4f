-- Of each symbol the newest price with its change on the session before, and its last closes in one basis of shares.
-- quoted: the series that has the newest bar; charted: the one whose closes are drawn.
select
    symbols.symbol,
    symbols.asset_class,
    quoted.close as price,
    quoted.return_1d as change,
    cast(extract(epoch from quoted.timestamp) as bigint) as quoted_bar,
    charted.closes
from unnest(
    cast(%(symbols)s as text []), cast(%(classes)s as text []), cast(%(quoted)s as text []), cast(%(charted)s as text [])
) as symbols (symbol, asset_class, quoted, charted)
left join lateral (
    select
        bars.close,
        bars.return_1d,
        bars.timestamp
    from marts.market_data_v2 as bars
    where
        bars.symbol = symbols.symbol
        and bars.asset_class = symbols.asset_class
        and bars.timeframe = symbols.quoted
        and bars.close is not null
    order by bars.timestamp desc
    limit 1
) as quoted on true
left join lateral (
    select array_agg(cast(newest.close * newest.split_factor as double precision) order by newest.timestamp) as closes
    from (
        select
            bars.close,
            bars.split_factor,
            bars.timestamp
        from marts.market_data_v2 as bars
        where
            bars.symbol = symbols.symbol
            and bars.asset_class = symbols.asset_class
            and bars.timeframe = symbols.charted
            and bars.close is not null
        order by bars.timestamp desc
        limit 30
    ) as newest
) as charted on true
