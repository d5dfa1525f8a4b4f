-- How many bars there are, and how many of them have each feature.
select
    asset_class,
    count(*) as bars,
    count(return_1h) as return_1h,
    count(return_1d) as return_1d,
    count(log_return) as log_return,
    count(volatility_20) as volatility_20,
    count(volatility_50) as volatility_50,
    count(true_range) as true_range,
    count(atr) as atr,
    count(hlc3) as hlc3,
    count(sma_20) as sma_20,
    count(sma_50) as sma_50,
    count(vwap_20) as vwap_20,
    count(trend_direction) as trend_direction,
    count(market_structure) as market_structure,
    count(rolling_volume_20) as rolling_volume_20,
    count(delta) as delta,
    count(buy_sell_ratio) as buy_sell_ratio,
    count(liquidation_intensity) as liquidation_intensity,
    count(volume_spike_score) as volume_spike_score,
    count(long_short_ratio) as long_short_ratio,
    count(funding_rate_percentile) as funding_rate_percentile,
    count(exchange_inflow) as exchange_inflow,
    count(open_interest_change) as open_interest_change
from marts.market_data_v2
group by asset_class
order by asset_class
