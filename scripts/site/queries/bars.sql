-- The newest bars of one series in time order, one array per column. Doubles hold what is drawn.
select cast(json_build_object(
    't', json_agg(cast(extract(epoch from timestamp) as bigint)),
    'open', json_agg(cast(open as double precision)),
    'high', json_agg(cast(high as double precision)),
    'low', json_agg(cast(low as double precision)),
    'close', json_agg(cast(close as double precision)),
    'volume', json_agg(cast(volume as double precision)),
    'split_factor', json_agg(cast(split_factor as double precision)),
    'return_1h', json_agg(cast(return_1h as double precision)),
    'return_1d', json_agg(cast(return_1d as double precision)),
    'log_return', json_agg(cast(log_return as double precision)),
    'volatility_20', json_agg(cast(volatility_20 as double precision)),
    'volatility_50', json_agg(cast(volatility_50 as double precision)),
    'true_range', json_agg(cast(true_range as double precision)),
    'atr', json_agg(cast(atr as double precision)),
    'hlc3', json_agg(cast(hlc3 as double precision)),
    'sma_20', json_agg(cast(sma_20 as double precision)),
    'sma_50', json_agg(cast(sma_50 as double precision)),
    'vwap_20', json_agg(cast(vwap_20 as double precision)),
    'trend_direction', json_agg(trend_direction),
    'market_structure', json_agg(market_structure),
    'rolling_volume_20', json_agg(cast(rolling_volume_20 as double precision)),
    'delta', json_agg(cast(delta as double precision)),
    'buy_sell_ratio', json_agg(cast(buy_sell_ratio as double precision)),
    'liquidation_intensity', json_agg(cast(liquidation_intensity as double precision)),
    'volume_spike_score', json_agg(cast(volume_spike_score as double precision)),
    'long_short_ratio', json_agg(cast(long_short_ratio as double precision)),
    'funding_rate_percentile', json_agg(cast(funding_rate_percentile as double precision)),
    'exchange_inflow', json_agg(cast(exchange_inflow as double precision)),
    'open_interest_change', json_agg(cast(open_interest_change as double precision)),
    'funding_rate', json_agg(cast(funding_rate as double precision)),
    'open_interest', json_agg(cast(open_interest as double precision)),
    'source', json_agg(source),
    'quality_score', json_agg(quality_score),
    'is_validated', json_agg(is_validated),
    'notes', json_agg(validation_notes),
    'revision', json_agg(revision)
) as text)
from (
    select *
    from (
        select *
        from marts.market_data_v2
        where symbol = %(symbol)s and asset_class = %(asset_class)s and timeframe = %(timeframe)s
        order by timestamp desc
        limit %(bars)s
    ) as newest
    order by timestamp
) as bars
