-- What a backtest would have got wrong: each bar as it was known before its first correction, against what it is now.
-- For features as they were at one moment, ask marts.market_data_as_of('2025-03-01 12:00+00') instead.
with

corrected as (
    select
        original_record_id,
        field_corrected,
        first_value(old_value) over field as known_first,
        row_number() over field as place,
        min(correction_timestamp) over field as first_corrected_at,
        count(*) over field as corrections
    from {{ ref('data_corrections') }}
    window
        field as (
            partition by original_record_id, field_corrected
            order by correction_timestamp, id
            rows between unbounded preceding and unbounded following
        )
)

select
    bars.symbol,
    bars.asset_class,
    bars.timeframe,
    bars.timestamp,
    corrected.field_corrected,
    corrected.known_first,
    case corrected.field_corrected
        when 'open' then bars.open
        when 'high' then bars.high
        when 'low' then bars.low
        when 'close' then bars.close
        when 'volume' then bars.volume
        when 'taker_buy_volume' then bars.taker_buy_volume
    end as known_now,
    corrected.corrections,
    corrected.first_corrected_at,
    corrected.first_corrected_at - bars.timestamp as learned_after
from corrected
inner join {{ ref('market_data', v=2) }} as bars on bars.id = corrected.original_record_id
where corrected.place = 1
order by bars.timestamp desc, bars.symbol asc, corrected.field_corrected asc
