{%- set joined_by = ['series_id', 'range_no', 'opened_at', 'symbol', 'asset_class', 'closed_at', 'is_written', 'is_valid'] -%}
{{
    config(
        indexes=[{'columns': ['series_id', 'range_no'], 'type': 'brin'}],
        post_hook=["{{ analyze(" ~ joined_by ~ ") }}"]
    )
}}
-- The bars this run reads, and which of them it writes. A table, since four models of the run read it.
with

recompute_ranges as (
    select * from {{ ref('int_recompute_ranges') }}
),

series as (
    select * from {{ ref('int_series') }}
),

final as (
    select
        bars.series_id,
        recompute_ranges.range_no,
        bars.opened_at,
        bars.opened_at >= recompute_ranges.write_from as is_written,
        recompute_ranges.reads_from_start,
        series.symbol,
        series.asset_class,
        series.timeframe,
        series.step_minutes,
        series.first_fetched_at,
        bars.closed_at,
        bars.session_date,
        -- Invalid bars count: they are there, so they leave no gap.
        coalesce(
            bars.expected_no - lag(bars.expected_no) over (
                partition by bars.series_id, recompute_ranges.range_no order by bars.opened_at
            ) > 1,
            false
        ) as gap_detected,
        bars.source,
        bars.open,
        bars.high,
        bars.low,
        bars.close,
        bars.volume,
        bars.taker_buy_volume,
        bars.split_factor,
        {% if var('validate_on_insert') | string | lower == 'true' -%}
        bars.is_valid,
        {%- else -%}
        -- VALIDATE_ON_INSERT is off: only what is no bar at all is left out.
        bars.open > 0 and bars.high > 0 and bars.low > 0 and bars.close > 0 and coalesce(bars.volume, 0) >= 0 as is_valid,
        {%- endif %}
        bars.failed_checks,
        against_consensus.fields_against_consensus,
        bars.base_timeframe,
        bars.bars_present,
        bars.bars_expected,
        bars.revision,
        bars.first_seen_at,
        bars.fetched_at
    from recompute_ranges
    -- Range by range, by index: as a plain join Postgres read the bars of all time to compute a day's (3 s in 5M bars).
    inner join lateral (
        select *
        from {{ ref('int_bars') }} as bars_of_all_time
        where
            bars_of_all_time.series_id = recompute_ranges.series_id
            and bars_of_all_time.opened_at >= recompute_ranges.read_from
            and bars_of_all_time.opened_at <= recompute_ranges.write_to
        {{ optimization_fence() }}
    ) as bars on true
    inner join series on series.series_id = recompute_ranges.series_id
    left join {{ ref('int_bars_against_consensus') }} as against_consensus
        on against_consensus.series_id = bars.series_id and against_consensus.opened_at = bars.opened_at
)

select * from final
