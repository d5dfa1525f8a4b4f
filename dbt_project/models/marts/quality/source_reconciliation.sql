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
        row_number() over (
            partition by words.series_id, words.opened_at, words.source order by words.revision desc
        ) as newest,
        words.is_withdrawn or words.failed_checks is not null as is_unusable
    from {{ ref('int_bar_words') }} as words
    inner join {{ ref('int_bars_to_reconcile') }} as bars
        on bars.series_id = words.series_id and bars.opened_at = words.opened_at
    where words.source <> 'manual'
),

usable as (
    select *
    from words
    where newest = 1 and not is_unusable
),

paired as (
    select
        preferred.series_id,
        preferred.opened_at,
        preferred.source,
        other.source as other_source,
        cast(null as varchar(10)) as resampled_from,
        preferred.open,
        preferred.high,
        preferred.low,
        preferred.close,
        cast(null as numeric) as volume,
        other.open as other_open,
        other.high as other_high,
        other.low as other_low,
        other.close as other_close,
        cast(null as numeric) as other_volume
    from usable as preferred
    inner join usable as other
        on
            other.series_id = preferred.series_id
            and other.opened_at = preferred.opened_at
            and other.source_place > preferred.source_place

    union all

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
    from {{ ref('int_bars_to_reconcile') }} as bars
    inner join usable as native on native.series_id = bars.series_id and native.opened_at = bars.opened_at
    inner join {{ ref('int_bars_resampled') }} as resampled
        on
            resampled.series_id = bars.series_id
            and resampled.opened_at = bars.opened_at
            and resampled.source = native.source
    where bars.is_resampled and resampled.is_listed and resampled.is_valid
),

listed as (
    select
        paired.*,
        series.symbol,
        series.asset_class,
        series.timeframe,
        quotes.currency,
        other_quotes.currency as other_currency,
        case
            when paired.resampled_from is not null then 'resampled'
            when quotes.currency = other_quotes.currency then 'same currency'
            else 'other currency'
        end as comparison
    from paired
    inner join {{ ref('int_series') }} as series on series.series_id = paired.series_id
    inner join {{ ref('int_quote_currencies') }} as quotes
        on quotes.symbol = series.symbol and quotes.asset_class = series.asset_class and quotes.source = paired.source
    inner join {{ ref('int_quote_currencies') }} as other_quotes
        on
            other_quotes.symbol = series.symbol
            and other_quotes.asset_class = series.asset_class
            and other_quotes.source = paired.other_source
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
        judged.source,
        judged.other_source,
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
