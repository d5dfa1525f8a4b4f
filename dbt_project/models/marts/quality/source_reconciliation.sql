{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        indexes=[
            {'columns': ['symbol', 'asset_class', 'timeframe', 'timestamp']},
        ],
        pre_hook=[
            "{{ require_full_input(ref('int_bars_to_reconcile')) }}",
            '{{ delete_rows_of_former_version() }}',
            '{{ delete_reconciled_bars() }}',
        ],
        post_hook=["{{ advance_watermark([ref('int_bars_to_reconcile')]) }}"]
    )
}}
-- depends_on: {{ ref('int_series_fingerprints') }}
-- The same bar from two sources, field by field: how far the other one is from the preferred one, in basis points, and
-- whether that is usual. Our own resampling of finer bars is compared with the provider's own bar in the same way.
-- Volumes are compared with the same provider's only: every provider counts other trades.
with

observations as (
    select
        observations.series_id,
        observations.opened_at,
        observations.source,
        observations.source_rank,
        observations.open,
        observations.high,
        observations.low,
        observations.close,
        observations.volume,
        bars.is_resampled,
        row_number() over (
            partition by observations.series_id, observations.opened_at, observations.source order by observations.revision desc
        ) as newest,
        observations.is_retracted or observations.failed_checks is not null as is_unusable
    from {{ ref('int_bar_observations') }} as observations
    inner join {{ ref('int_bars_to_reconcile') }} as bars
        on bars.series_id = observations.series_id and bars.opened_at = observations.opened_at
    where observations.source <> 'manual'
),

-- A case, because Postgres expects an equation to hold once in 200 rows, and joins what it takes for a few rows in loops.
usable as (
    select *
    from observations
    where case when newest = 1 and not is_unusable then true end
),

-- Joins each observation with those of better sources. By windows, not by a self-join: Postgres expects one
-- observation in 200 to be the newest of its source, and compared all with all (329 s for 64,835 bars; ten times the bars
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
    window better_first as (partition by series_id, opened_at order by source_rank)
),

paired as (
    -- Three providers give bars: at most two come before an observation.
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
    where native.is_resampled and resampled.is_active and resampled.is_valid
),

-- What each source quotes an asset in, in one row per series. Joined source by source, stock Postgres 15 expected one row of
-- it, and compared every pair with all of them, or met with every pair each asset that its sources have.
series as (
    select
        {% for source in sources_of('bars') -%}
        quotes.of_{{ source }},
        {% endfor -%}
        series.series_id,
        series.symbol,
        series.asset_class,
        series.timeframe
    from {{ ref('int_series') }} as series
    left join (
        select
            {% for source in sources_of('bars') -%}
            max(case when source = '{{ source }}' then currency end) as of_{{ source }},
            {% endfor -%}
            symbol,
            asset_class
        from {{ ref('int_quote_currencies') }}
        group by symbol, asset_class
    ) as quotes
        on quotes.symbol = series.symbol and quotes.asset_class = series.asset_class
),

quoted as (
    select
        paired.*,
        {% for column, quoted in [('source', 'currency'), ('other_source', 'other_currency')] -%}
        case paired.{{ column }}
            {%- for source in sources_of('bars') %}
            when '{{ source }}' then series.of_{{ source }}
            {%- endfor %}
        end as {{ quoted }},
        {% endfor -%}
        series.symbol,
        series.asset_class,
        series.timeframe
    from paired
    inner join series on series.series_id = paired.series_id
),

reconciled as (
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
    from reconciled
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

classified as (
    select
        *,
        coalesce(abs(difference_bp) <= tolerance_bp, false) as is_within
    from measured
),

final as (
    select
        {{ hash63(
            "concat_ws('|', classified.series_id, classified.source, classified.other_source, "
            ~ "classified.resampled_from, classified.field, "
            ~ epoch_seconds('classified.opened_at') ~ ")"
        ) }} as id,
        classified.symbol,
        classified.asset_class,
        classified.timeframe,
        classified.opened_at as timestamp,
        classified.field,
        -- A window's result has no length.
        cast(classified.source as varchar(20)) as source,
        cast(classified.other_source as varchar(20)) as other_source,
        cast(classified.resampled_from as varchar(10)) as resampled_from,
        {{ fits('classified.value', 28, 10) }} as value,
        {{ fits('classified.other_value', 28, 10) }} as other_value,
        cast(
            case when abs(classified.difference_bp) < 1e14 then classified.difference_bp end as numeric(18, 4)
        ) as difference_bp,
        classified.tolerance_bp,
        case when classified.is_within then 'within tolerance' else 'differs' end as verdict,
        case
            when classified.currency <> classified.other_currency
                then classified.currency || ' against ' || classified.other_currency
        end as basis,
        against_consensus.series_id is not null as is_against_consensus,
        classified.series_id,
        {{ warehouse_now() }} as created_at
    from classified
    left join {{ ref('int_bars_against_consensus') }} as against_consensus
        on
            against_consensus.series_id = classified.series_id
            and against_consensus.opened_at = classified.opened_at
            and against_consensus.source = classified.source
            and {{ position_in_list('classified.field', 'against_consensus.fields_against_consensus') }} is not null
            and classified.resampled_from is null
)

select * from final
