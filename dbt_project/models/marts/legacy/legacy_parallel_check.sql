{{ config(materialized='view') }}
-- The old system's table and market_data_v2, daily bar by daily bar, for the symbols and days that the old one knows:
-- whether a reader who moves sees the same. Empty where there is no old table.
with

old_bars as (
    select
        *,
        row_number() over (partition by symbol, day order by time) as bar_no
    from {{ ref('stg_legacy__market_data') }}
),

reaches as (
    select
        symbol,
        min(day) as first_day
    from old_bars
    where not is_written_by_us
    group by symbol
),

-- As market_data_legacy shows them.
new_bars as (
    select
        bars.symbol,
        {{ local_date('bars.timestamp', "'UTC'") }} as day,
        bars.timestamp as time,
        cast(bars.open as numeric(19, 8)) as open,
        cast(bars.high as numeric(19, 8)) as high,
        cast(bars.low as numeric(19, 8)) as low,
        cast(bars.close as numeric(19, 8)) as close,
        cast(case when bars.volume < 9e18 then round(bars.volume) end as bigint) as volume,
        row_number() over (
            partition by bars.symbol, {{ local_date('bars.timestamp', "'UTC'") }} order by bars.timestamp
        ) as bar_no
    from {{ ref('market_data', v=2) }} as bars
    inner join reaches on reaches.symbol = bars.symbol
    where bars.timeframe = '1d' and {{ local_date('bars.timestamp', "'UTC'") }} >= reaches.first_day
),

paired as (
    select
        coalesce(old_bars.symbol, new_bars.symbol) as symbol,
        coalesce(old_bars.day, new_bars.day) as day,
        coalesce(old_bars.bar_no, new_bars.bar_no) as bar_no,
        old_bars.time as time_old,
        new_bars.time as time_new,
        old_bars.close as close_old,
        new_bars.close as close_new,
        old_bars.volume as volume_old,
        new_bars.volume as volume_new,
        coalesce(old_bars.is_written_by_us, false) as is_written_by_us,
        concat_ws(
            ', ',
            case when old_bars.time <> new_bars.time then 'time' end,
            {%- for price in ['open', 'high', 'low', 'close'] %}
            case
                when (old_bars.{{ price }} is null) <> (new_bars.{{ price }} is null) then '{{ price }}'
                when
                    abs(old_bars.{{ price }} - new_bars.{{ price }})
                    > {{ var('legacy_tolerance_bp') }} * 0.0001 * new_bars.{{ price }}
                    then '{{ price }}'
            end,
            {%- endfor %}
            -- The old column cut fractions off, ours rounds them.
            case
                when (old_bars.volume is null) <> (new_bars.volume is null) then 'volume'
                when
                    abs(old_bars.volume - new_bars.volume)
                    > greatest(1, {{ var('legacy_tolerance_bp') }} * 0.0001 * new_bars.volume)
                    then 'volume'
            end
        ) as differing
    from old_bars
    full outer join new_bars
        on new_bars.symbol = old_bars.symbol and new_bars.day = old_bars.day and new_bars.bar_no = old_bars.bar_no
),

final as (
    select
        cast(symbol as varchar(20)) as symbol,
        day,
        cast(bar_no as integer) as bar_no,
        case
            when is_written_by_us then 'written by us'
            when time_new is null then 'only old'
            when time_old is null then 'only new'
            when differing <> '' then 'differs'
            else 'same'
        end as verdict,
        case when time_old is not null and time_new is not null then nullif(differing, '') end as differing,
        time_old,
        time_new,
        cast(close_old as numeric(19, 8)) as close_old,
        cast(close_new as numeric(19, 8)) as close_new,
        cast(volume_old as bigint) as volume_old,
        cast(volume_new as bigint) as volume_new
    from paired
)

select * from final
