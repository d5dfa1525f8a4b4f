{%- set lacking = lacking_features('bars', 'series') -%}
{%- set changed_rows = changed_rows_of_the_mart('enrichment_compute_log') -%}
{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        indexes=[
            {'columns': ['symbol', 'asset_class', 'timeframe', 'computation_timestamp']},
        ],
        post_hook=[
            "{{ advance_watermark([ref('market_data', v=2)], stamp=last_written_at()) }}",
            '{{ delete_broken_computations() }}',
        ]
    )
}}
-- depends_on: {{ ref('int_recompute_ranges') }}
-- One row per series and build that wrote bars of it: how many, which features the newest has, how long it took.
-- All rows of a build carry its stamp; those with a later one than this model last read are new. A build that broke off
-- before it wrote its bars has a row for each series that it was about to compute.
with

worked as (
    select
        max(case when marks.model = 'market_data_v2' then marks.advanced_at - marks.began_at end) as duration,
        {% if is_incremental() -%}
        max(case when marks.model = 'enrichment_compute_log' then marks.written_at end) as looked_at
        {%- else -%}
        cast('0001-01-01 00:00:00+00' as timestamp with time zone) as looked_at
        {%- endif %}
    from ops.watermarks as marks
),

written as (
    select
        series.series_id,
        bars.symbol,
        bars.asset_class,
        bars.timeframe,
        bars.timestamp,
        bars.updated_at,
        case
            when {{ notes_a_failed_row_check('bars.validation_notes') }}
                then bars.validation_notes
        end as failure
    from {{ ref('market_data', v=2) }} as bars
    inner join {{ ref('int_series') }} as series
        on
            series.symbol = bars.symbol
            and series.asset_class = bars.asset_class
            and series.timeframe = bars.timeframe
    {% if changed_rows == 'ranges' -%}
    inner join {{ ref('int_recompute_ranges') }} as recompute_ranges
        on
            recompute_ranges.series_id = series.series_id
            and bars.timestamp >= recompute_ranges.write_from
            and bars.timestamp <= recompute_ranges.write_to
    {%- endif %}
    inner join worked on bars.updated_at > worked.looked_at
    {%- if changed_rows == 'nothing' %}
    where false
    {%- endif %}
),

builds as (
    select
        series_id,
        symbol,
        asset_class,
        timeframe,
        updated_at as computed_at,
        count(*) as bars,
        count(failure) as bars_failing,
        max(failure) as failure,
        max(timestamp) as newest_bar
    from written
    group by series_id, symbol, asset_class, timeframe, updated_at
),

shares as (
    select
        *,
        case
            when computed_at = max(computed_at) over () then bars / sum(bars) over (partition by computed_at)
        end as part
    from builds
),

finished as (
    select
        {{ hash63("shares.series_id || '|' || cast(extract(epoch from shares.computed_at) as text)") }} as id,
        bars.symbol,
        bars.asset_class,
        bars.timeframe,
        shares.computed_at as computation_timestamp,
        cast(num_nonnulls(
            {%- for feature in lacking %}
            bars.{{ feature }}{{ ',' if not loop.last }}
            {%- endfor %}
        ) as integer) as features_computed,
        {{ names_where(lacking) }} as missing_fields,
        -- One statement computes all series: a series' share of its time is that of its bars.
        cast(round(
            shares.part * 1000 * extract(epoch from worked.duration)
        ) as integer) as computation_time_ms,
        shares.bars_failing = 0 as success,
        case
            when shares.bars_failing > 0 then shares.bars_failing || ' bars fail, e.g.: ' || shares.failure
        end as error_details,
        {{ warehouse_now() }} as created_at,
        cast(shares.bars as integer) as rows_computed,
        shares.newest_bar
    from shares
    inner join {{ ref('market_data', v=2) }} as bars
        on
            bars.symbol = shares.symbol
            and bars.asset_class = shares.asset_class
            and bars.timeframe = shares.timeframe
            and bars.timestamp = shares.newest_bar
    inner join {{ ref('int_series') }} as series on series.series_id = shares.series_id
    cross join worked
),

broken_off as (
    select
        {{ hash63("computations.series_id || '|' || computations.build_id") }} as id,
        series.symbol,
        series.asset_class,
        series.timeframe,
        computations.began_at,
        coalesce(
            'the build failed: ' || computations.error, 'the build was killed, or its database went down'
        ) || '; the build that logs this has computed the series again' as error_details
    from ops.computations as computations
    inner join {{ ref('int_series') }} as series on series.series_id = computations.series_id
    where computations.build_id <> '{{ invocation_id }}'
),

final as (
    select * from finished

    union all

    select
        id, symbol, asset_class, timeframe, began_at, 0, null, null, false, error_details, {{ warehouse_now() }}, 0, null
    from broken_off
)

select * from final
