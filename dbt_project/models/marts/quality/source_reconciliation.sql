{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        indexes=[
            {'columns': ['symbol', 'asset_class', 'timeframe', 'timestamp']},
        ],
        pre_hook=[
            "{{ require_whole('int_bars_to_reconcile') }}",
            '{{ delete_rows_of_former_version() }}',
            '{{ forget_reconciled_bars() }}',
        ],
        post_hook=["{{ advance_watermark(['int_bars_to_reconcile']) }}"]
    )
}}
-- depends_on: {{ ref('int_series_rules') }}
-- The same bar from two sources, field by field: how far the other one is from the preferred one, in basis points, and
-- whether that is usual. Our own resampling of finer bars is compared with the provider's own bar in the same way.
-- Volumes are compared with the same provider's only: every provider counts other trades.
with

words as (
    select
        words.series_id,
        words.opened_at,
        words.source,
        words.source_place,
        words.open,
        words.high,
        words.low,
        words.close,
        words.volume,
        bars.is_resampled,
        row_number() over (
            partition by words.series_id, words.opened_at, words.source order by words.revision desc
        ) as newest,
        words.is_withdrawn or words.failed_checks is not null as is_unusable
    from {{ ref('int_bar_words') }} as words
    inner join {{ ref('int_bars_to_reconcile') }} as bars
        on bars.series_id = words.series_id and bars.opened_at = words.opened_at
    where words.source <> 'manual'
),

-- A case, because Postgres expects an equation to hold once in 200 rows, and joins what it takes for a few rows in loops.
usable as (
    select *
    from words
    where case when newest = 1 and not is_unusable then true end
),

-- Beside each word those of better sources. By windows, not by a join of the words with themselves: Postgres expects one
-- word in 200 to be the newest of its source, and compared all words with all (329 s for 64,835 bars; ten times the bars
-- took a hundred times as long).
ranked as (
    select
        {% for place in [1, 2] -%}
        {% for field in ['source', 'open', 'high', 'low', 'close'] -%}
        lag({{ field }}, {{ place }}) over better_first as {{ field }}_{{ place }},
        {% endfor -%}
        {% endfor -%}
        *
    from usable
    window better_first as (partition by series_id, opened_at order by source_place)
),

paired as (
    -- Three providers give bars: at most two come before a word.
    {% for place in [1, 2] -%}
    select
        series_id,
        opened_at,
        source_{{ place }} as source,
        source as other_source,
        cast(null as varchar(10)) as resampled_from,
        open_{{ place }} as open,
        high_{{ place }} as high,
        low_{{ place }} as low,
        close_{{ place }} as close,
        cast(null as numeric) as volume,
        open as other_open,
        high as other_high,
        low as other_low,
        close as other_close,
        cast(null as numeric) as other_volume
    from ranked
    where source_{{ place }} is not null

    union all

    {% endfor -%}
    select
        native.series_id,
        native.opened_at,
        native.source,
        resampled.source as other_source,
        resampled.base_timeframe,
        native.open,
        native.high,
        native.low,
        native.close,
        native.volume,
        resampled.open as other_open,
        resampled.high as other_high,
        resampled.low as other_low,
        resampled.close as other_close,
        resampled.volume as other_volume
    from usable as native
    inner join {{ ref('int_bars_resampled') }} as resampled
        on
            resampled.series_id = native.series_id
            and resampled.opened_at = native.opened_at
            and resampled.source = native.source
    where native.is_resampled and resampled.is_listed and resampled.is_valid
),

-- What each source quotes an asset in, in one row per series. Joined source by source, stock Postgres 15 expected one row of
-- it, and held every pair against all of them, or met with every pair each asset that its sources have.
series as (
    select
        series.series_id,
        series.symbol,
        series.asset_class,
        series.timeframe,
        quotes.of_polygon,
        quotes.of_binance,
        quotes.of_yahoo
    from {{ ref('int_series') }} as series
    left join (
        select
            symbol,
            asset_class,
            max(case when source = 'polygon' then currency end) as of_polygon,
            max(case when source = 'binance' then currency end) as of_binance,
            max(case when source = 'yahoo' then currency end) as of_yahoo
        from {{ ref('int_quote_currencies') }}
        group by symbol, asset_class
    ) as quotes
        on quotes.symbol = series.symbol and quotes.asset_class = series.asset_class
),

quoted as (
    select
        paired.*,
        series.symbol,
        series.asset_class,
        series.timeframe,
        case paired.source
            when 'polygon' then series.of_polygon
            when 'binance' then series.of_binance
            when 'yahoo' then series.of_yahoo
        end as currency,
        case paired.other_source
            when 'polygon' then series.of_polygon
            when 'binance' then series.of_binance
            when 'yahoo' then series.of_yahoo
        end as other_currency
    from paired
    inner join series on series.series_id = paired.series_id
),

listed as (
    select
        *,
        case
            when resampled_from is not null then 'resampled'
            when currency = other_currency then 'same currency'
            else 'other currency'
        end as comparison
    from quoted
    where currency is not null and other_currency is not null
),

fields as (
    {% for field in ['open', 'high', 'low', 'close', 'volume'] -%}
    select
        series_id, symbol, asset_class, timeframe, opened_at, source, other_source, resampled_from, comparison,
        currency, other_currency, '{{ field }}' as field, {{ field }} as value, other_{{ field }} as other_value
    from listed
    {% if field == 'volume' %}where volume is not null and other_volume is not null{% endif %}
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

measured as (
    select
        fields.*,
        tolerances.tolerance_bp,
        {{ difference_bp('fields.value', 'fields.other_value') }} as difference_bp
    from fields
    inner join {{ ref('reconciliation_tolerances') }} as tolerances
        on
            tolerances.comparison = fields.comparison
            and tolerances.asset_class = fields.asset_class
            and tolerances.field = fields.field
),

judged as (
    select
        *,
        coalesce(abs(difference_bp) <= tolerance_bp, false) as is_within
    from measured
),

final as (
    select
        {{ hash63(
            "concat_ws('|', judged.series_id, judged.source, judged.other_source, judged.resampled_from, judged.field, "
            ~ epoch_seconds('judged.opened_at') ~ ")"
        ) }} as id,
        judged.symbol,
        judged.asset_class,
        judged.timeframe,
        judged.opened_at as timestamp,
        judged.field,
        -- A window's result has no length.
        cast(judged.source as varchar(20)) as source,
        cast(judged.other_source as varchar(20)) as other_source,
        cast(judged.resampled_from as varchar(10)) as resampled_from,
        {{ fits('judged.value', 28, 10) }} as value,
        {{ fits('judged.other_value', 28, 10) }} as other_value,
        cast(
            case when abs(judged.difference_bp) < 1e14 then judged.difference_bp end as numeric(18, 4)
        ) as difference_bp,
        judged.tolerance_bp,
        case when judged.is_within then 'within tolerance' else 'differs' end as verdict,
        case
            when judged.currency <> judged.other_currency then judged.currency || ' against ' || judged.other_currency
        end as basis,
        outvoted.series_id is not null as is_outvoted,
        judged.series_id,
        {{ warehouse_now() }} as created_at
    from judged
    left join {{ ref('int_bars_outvoted') }} as outvoted
        on
            outvoted.series_id = judged.series_id
            and outvoted.opened_at = judged.opened_at
            and outvoted.source = judged.source
            and {{ place_in_list('judged.field', 'outvoted.outvoted_fields') }} is not null
            and judged.resampled_from is null
)

select * from final
