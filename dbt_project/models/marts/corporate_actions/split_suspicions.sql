{{ config(materialized='view') }}
-- Days on which prices and splits contradict each other: a jump by a split's ratio that nobody tells a split for, or a
-- split after which the price went on as if there had been none. The log return runs through the splits that are known,
-- so in both cases it is about the ratio's logarithm: only such days are looked at.
with

bars as (
    select
        symbol,
        asset_class,
        session_date,
        open,
        close,
        log_return,
        source,
        -- In the shares of this day.
        close / exp(log_return) as continuous_close_before
    from {{ ref('market_data', v=2) }}
    where
        timeframe = '1d'
        and asset_class <> 'crypto'
        and open > 0
        and close > 0
        and abs(log_return) > 0.3
),

ratios as (
    {% for ratio in ['1.5', '2', '3', '4', '5', '6', '7', '8', '10', '15', '20', '25', '30', '50', '100'] -%}
    select cast({{ ratio }} as numeric) as ratio
    union all
    select 1 / cast({{ ratio }} as numeric) as ratio
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

splits as (
    select
        symbol,
        asset_class,
        ex_date,
        source,
        split_to / split_from as ratio
    from {{ ref('int_splits') }}
    where split_to <> split_from
),

jumps as (
    select
        bars.symbol,
        bars.asset_class,
        bars.session_date,
        'jump without a split' as suspicion,
        bars.continuous_close_before as close_before,
        bars.open,
        bars.close,
        ratios.ratio,
        bars.source,
        row_number() over (
            partition by bars.symbol, bars.asset_class, bars.session_date
            order by abs(ln(bars.continuous_close_before / bars.open / ratios.ratio)) asc
        ) as place
    from bars
    inner join ratios
        on
            -- The open jumps by the ratio nearly exactly, and the day keeps near to it.
            abs(ln(bars.continuous_close_before / bars.open / ratios.ratio)) <= {{ var('split_jump_tolerance') }}
            and abs(ln(bars.continuous_close_before / bars.close / ratios.ratio)) <= 3 * {{ var('split_jump_tolerance') }}
    left join splits
        on splits.symbol = bars.symbol and splits.asset_class = bars.asset_class and splits.ex_date = bars.session_date
    where splits.symbol is null
),

missed as (
    select
        bars.symbol,
        bars.asset_class,
        bars.session_date,
        'split without a jump' as suspicion,
        bars.continuous_close_before * splits.ratio as close_before,
        bars.open,
        bars.close,
        splits.ratio,
        splits.source
    from bars
    inner join splits
        on splits.symbol = bars.symbol and splits.asset_class = bars.asset_class and splits.ex_date = bars.session_date
    where abs(ln(bars.continuous_close_before * splits.ratio / bars.open)) < 0.5 * abs(ln(splits.ratio))
),

final as (
    select symbol, asset_class, session_date, suspicion, close_before, open, close, ratio, source
    from jumps
    where place = 1
    union all
    select symbol, asset_class, session_date, suspicion, close_before, open, close, ratio, source
    from missed
)

select
    symbol,
    asset_class,
    session_date,
    suspicion,
    {{ fits('close_before', 19, 4) }} as close_before,
    open,
    close,
    {{ fits('ratio', 20, 10) }} as ratio,
    cast(source as varchar(20)) as source
from final
