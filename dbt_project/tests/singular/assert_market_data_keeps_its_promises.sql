-- One scan of market_data_v2 for everything its column descriptions promise; a row that breaks a promise comes back
-- with the names of all it breaks. Provider facts are no promises: those are in validation_notes. A value that its column
-- cannot hold is NULL (a volume 1e11 standard deviations off is an anomaly without a score) and breaks none.
{%- set universal = [
    'return_1h', 'return_1d', 'log_return', 'volatility_20', 'volatility_50', 'true_range', 'atr', 'hlc3', 'sma_20',
    'sma_50', 'vwap_20', 'trend_direction', 'market_structure', 'rolling_volume_20', 'volume_spike_score'
] %}
{%- set crypto = [
    'delta', 'buy_sell_ratio', 'liquidation_intensity', 'long_short_ratio', 'funding_rate_percentile',
    'exchange_inflow', 'open_interest_change'
] %}
{%- set crypto_facts = [
    'open_interest', 'funding_rate', 'liquidations_long', 'liquidations_short', 'taker_buy_volume', 'taker_sell_volume'
] %}
{%- set promises = {
    'the class is known': "asset_class not in ('stock', 'etf', 'crypto')",
    'the timeframe is known': "timeframe not in ('5m', '15m', '30m', '1h', '4h', '1d', '1w')",
    'the source is known': "source not in ('polygon', 'binance', 'yahoo', 'manual') and source not like '%+%'",
    'the day is the local date of the bar': "session_date not between " ~ local_date('timestamp', "'UTC'") ~ " - 1 and " ~ local_date('timestamp', "'UTC'") ~ " + 1",
    'a validated bar passes the hard checks':
        "is_validated and (num_nulls(open, high, low, close) > 0 or " ~ bar_checks().values() | join(' or ') ~ ")",
    'a validated row passes the row checks': "is_validated and (" ~ row_checks().values() | join(' or ') ~ ")",
    'a validated row reaches the thresholds':
        "is_validated and quality_score < " ~ var('min_quality_score'),
    'scores lie between 0 and 1': "quality_score not between 0 and 1 or data_completeness not between 0 and 1",
    'a bar without typical price is invalid and has no feature': "hlc3 is null and num_nonnulls(" ~ (universal + crypto) | join(', ') ~ ") > 0",
    'a bar without typical price says why': "hlc3 is null and (is_validated or validation_notes is null)",
    'only crypto has crypto values': "asset_class <> 'crypto' and num_nonnulls(" ~ (crypto + crypto_facts) | join(', ') ~ ") > 0",
    'shares lie between 0 and 1': "buy_sell_ratio not between 0 and 1 or long_short_ratio not between 0 and 1",
    'ranks lie between 0 and 100': "funding_rate_percentile not between 0 and 100",
    'spreads are not negative': "volatility_20 < 0 or volatility_50 < 0 or true_range < 0 or atr < 0 or liquidation_intensity < 0",
    'the longer window is not full before the shorter':
        "volatility_50 is not null and volatility_20 is null or sma_50 is not null and sma_20 is null and hlc3 < 1e4",
    'the trend follows from its averages': "(trend_direction is null) <> (sma_50 is null)",
    'the trend is a known word': "trend_direction not in ('up', 'down', 'neutral')",
    'the structure is a known word': "market_structure not in ('bullish', 'bearish', 'range')",
    'the bar lies in its own range': "is_validated and hlc3 not between low and high",
    'buy and sell make the volume': "taker_buy_volume + taker_sell_volume <> volume",
    'delta is buy less sell': "delta <> taker_buy_volume - taker_sell_volume",
    'liquidations of both sides are watched together': "(liquidations_long is null) <> (liquidations_short is null)",
    'an anomaly is a spike': "volume_anomaly and abs(volume_spike_score) < 5 or not volume_anomaly and abs(volume_spike_score) > 5",
    'weeks have no daily return, days no hourly': "timeframe = '1w' and return_1d is not null or timeframe in ('4h', '1d', '1w') and return_1h is not null",
    'revisions count from 1': "revision < 1 or (revision > 1) <> (amended_from is not null)",
    'split factors are positive': "split_factor <= 0",
    'values are computed after they are fetched': "updated_at < computed_at - interval '24 hours'",
} %}
with

judged as (
    select
        id,
        symbol,
        asset_class,
        timeframe,
        timestamp,
        concat_ws(
            '; '
            {%- for promise, broken in promises.items() %},
            case when {{ broken }} then '{{ promise }}' end
            {%- endfor %}
        ) as broken_promises
    from {{ ref('market_data', v=2) }}
    -- A row that was not written since has been judged already: 4 us a row add up to 20 s over 5 million.
    where updated_at >= {{ last_written_at() }} - interval '48 hours'
)

select * from judged
where broken_promises <> ''
