-- One scan of market_data_v2 for every invariant in its column descriptions; a row that breaks an invariant comes back
-- with the names of all it breaks. Provider facts are not invariants: those are in validation_notes. A value that its column
-- cannot hold is NULL (a volume 1e11 standard deviations off is an anomaly without a score) and breaks none.
-- depends_on: {{ ref('timeframes') }}
{%- set crypto_features = features().values() | selectattr('asset_class', 'defined') | map(attribute='name') | list %}
{%- set crypto_facts = [
    'open_interest', 'funding_rate', 'liquidations_long', 'liquidations_short', 'taker_buy_volume', 'taker_sell_volume'
] %}
{%- set invariants = {
    'the class is known': "asset_class not in ('stock', 'etf', 'index', 'crypto')",
    'the timeframe is known': "timeframe not in (select known.timeframe from " ~ ref('timeframes') ~ " as known)",
    'the source is known': 'not ' ~ is_source('source', sources_of('bars') + ['manual']) ~ " and source not like '%+%'",
    'the day is the local date of the bar': "session_date not between " ~ local_date('timestamp', "'UTC'") ~ " - 1 and " ~ local_date('timestamp', "'UTC'") ~ " + 1",
    'a validated bar passes the hard checks':
        "is_validated and (num_nulls(open, high, low, close) > 0 or " ~ bar_checks().values() | join(' or ') ~ ")",
    'a validated row passes the row checks': "is_validated and (" ~ row_checks().values() | join(' or ') ~ ")",
    'a validated row reaches the thresholds':
        "is_validated and quality_score < " ~ var('min_quality_score'),
    'scores lie between 0 and 1': "quality_score not between 0 and 1 or data_completeness not between 0 and 1",
    'a bar without typical price is invalid and has no feature': "hlc3 is null and num_nonnulls(" ~ features() | join(', ') ~ ") > 0",
    'a bar without typical price says why': "hlc3 is null and (is_validated or validation_notes is null)",
    'only crypto has crypto values': "asset_class <> 'crypto' and num_nonnulls(" ~ (crypto_features + crypto_facts) | join(', ') ~ ") > 0",
    'the longer window is not full before the shorter':
        "volatility_50 is not null and volatility_20 is null or sma_50 is not null and sma_20 is null and hlc3 < 1e4",
    'the trend follows from its averages': "(trend_direction is null) <> (sma_50 is null)",
    'the bar lies in its own range': "is_validated and hlc3 not between low and high",
    'buy and sell make the volume': "taker_buy_volume + taker_sell_volume <> volume",
    'delta is buy less sell': "delta <> taker_buy_volume - taker_sell_volume",
    'liquidations of both sides are watched together': "(liquidations_long is null) <> (liquidations_short is null)",
    'an anomaly is a spike': "volume_anomaly and abs(volume_spike_score) < 5 or not volume_anomaly and abs(volume_spike_score) > 5",
    'revisions count from 1': "revision < 1 or (revision > 1) <> (amended_from is not null)",
    'split factors are positive': "split_factor <= 0",
    'values are computed after they are fetched': "updated_at < computed_at - interval '24 hours'",
} %}
{%- do invariants.update(feature_invariants()) %}
with

classified as (
    select
        id,
        symbol,
        asset_class,
        timeframe,
        timestamp,
        concat_ws(
            '; '
            {%- for invariant, broken in invariants.items() %},
            case when {{ broken }} then '{{ invariant }}' end
            {%- endfor %}
        ) as broken_invariants
    from {{ ref('market_data', v=2) }}
    -- A row that was not written since has been checked already: 4 us a row add up to 20 s over 5 million.
    where updated_at >= {{ last_written_at() }} - interval '48 hours'
)

select * from classified
where broken_invariants <> ''
