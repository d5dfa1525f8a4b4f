{{
    config(
        post_hook=[
            "{{ advance_watermark([ref('int_bars_selected'), ref('int_bars_resampled'), ref('int_bars_against_consensus'), ref('int_funding_rates'), ref('int_futures_samples'), ref('int_liquidations')], prepares='market_data_v2') }}",
            '{{ record_computations() }}',
            '{{ analyze() }}',
        ]
    )
}}
-- depends_on: {{ ref('int_bars_selected') }}
-- depends_on: {{ ref('int_bars_resampled') }}
-- depends_on: {{ ref('int_bars_against_consensus') }}
-- depends_on: {{ ref('int_funding_rates') }}
-- depends_on: {{ ref('int_futures_samples') }}
-- depends_on: {{ ref('int_liquidations') }}
{%- for source in sources_of('derivatives') %}
-- depends_on: {{ ref('stg_' ~ source ~ '__liquidation_watches') }}
{%- endfor %}
-- depends_on: {{ ref('int_exchange_inflows') }}
-- depends_on: {{ ref('int_loads') }}
-- depends_on: {{ ref('int_series_fingerprints') }}
-- What this run computes, per series: ranges of bars to read and, inside them, to write. A range starts at a changed bar
-- and ends where no window can see the change any more; it reads as far back as the longest window looks. On the first
-- run and on a full refresh the ranges of a series are endless together: one, or several of a long one.
{%- set endless_past = instant('0001-01-01 00:00:00+00') %}
{%- set endless_future = instant('9999-12-31 00:00:00+00') %}
with

series as (
    select * from {{ ref('int_series') }}
),

{% if is_full_build('market_data_v2') or is_rebuilt_in_place('market_data_v2') or rebuilt_features() -%}
-- A long series in several ranges, so that processes can share it (macros/dbt_overrides/parallel.sql). Cut by time alone:
-- bars lie about evenly in it.
lengths as (
    select
        series_id,
        min(opened_at) as first_opened_at,
        max(opened_at) as last_opened_at,
        cast(count(*) / {{ var('shard_bars') }} as integer) as cuts
    from (
        select series_id, opened_at
        from {{ ref('int_bars_selected') }}
        union all
        select series_id, opened_at
        from {{ ref('int_bars_resampled') }}
    ) as bars
    group by series_id
),

starts as (
    select
        series_id,
        1 as range_no,
        {{ endless_past }} as write_from
    from series
    union all
    select
        lengths.series_id,
        cuts.number + 1,
        lengths.first_opened_at
        + (lengths.last_opened_at - lengths.first_opened_at) * cuts.number / (lengths.cuts + 1)
    from lengths
    inner join series on series.series_id = lengths.series_id
    cross join lateral {{ whole_numbers(1, 'lengths.cuts') }} as cuts
),

reaching as (
    select
        *,
        greatest(
            {{ bars_away(ref('int_bars_selected'), 'starts.series_id', '<', 'starts.write_from', 'desc') }},
            {{ bars_away(ref('int_bars_resampled'), 'starts.series_id', '<', 'starts.write_from', 'desc') }}
        ) as read_from,
        lead(write_from) over (partition by series_id order by range_no) as next_write_from
    from starts
),

final as (
    select
        series_id,
        range_no,
        coalesce(read_from, {{ endless_past }}) as read_from,
        write_from,
        coalesce(next_write_from - interval '1 microsecond', {{ endless_future }}) as write_to,
        read_from is null as reads_from_start
    from reaching
)
{%- else %}
changed_bars as (
    select series_id, opened_at
    from {{ ref('int_bars_selected') }}
    where changed_in_batch > {{ watermark('market_data_v2') }}
    union all
    select series_id, opened_at
    from {{ ref('int_bars_resampled') }}
    where changed_in_batch > {{ watermark('market_data_v2') }}
    union all
    select series_id, opened_at
    from {{ ref('int_bars_against_consensus') }}
    where changed_in_batch > {{ watermark('market_data_v2') }}
),

-- When the derivatives data of an asset changed: every bar that closes in the range sees it.
changed_derivatives as (
    select symbol, asset_class, settled_at as closes_from, coalesce(next_settled_at, {{ endless_future }}) as closes_to
    from {{ ref('int_funding_rates') }}
    where changed_in_batch > {{ watermark('market_data_v2') }}
    union all
    select symbol, asset_class, sampled_at, greatest(usable_until, sampled_at + interval '48 hours')
    from {{ ref('int_futures_samples') }}
    where changed_in_batch > {{ watermark('market_data_v2') }}
    union all
    -- From the first sample on they are missed where they do not come: an earlier first one begins that earlier.
    select changed.symbol, changed.asset_class, changed.sampled_at, coalesce(known.sampled_at, {{ endless_future }})
    from (
        select symbol, asset_class, measure, min(sampled_at) as sampled_at
        from {{ ref('int_futures_samples') }}
        where changed_in_batch > {{ watermark('market_data_v2') }}
        group by symbol, asset_class, measure
    ) as changed
    cross join lateral (
        select min(samples.sampled_at) as sampled_at
        from {{ ref('int_futures_samples') }} as samples
        where
            samples.symbol = changed.symbol
            and samples.asset_class = changed.asset_class
            and samples.measure = changed.measure
            and samples.changed_in_batch <= {{ watermark('market_data_v2') }}
    ) as known
    where changed.sampled_at < coalesce(known.sampled_at, {{ endless_future }})
    union all
    select symbol, asset_class, traded_at, traded_at + interval '168 hours'
    from {{ ref('int_liquidations') }}
    where changed_in_batch > {{ watermark('market_data_v2') }}
    union all
    select watches.symbol, watches.asset_class, watches.watched_from, watches.watched_to + interval '168 hours'
    from ({{ staged('derivatives', 'liquidation_watches') }}) as watches
    inner join {{ ref('int_loads') }} as loads on loads.provider = watches.source and loads.load_id = watches.load_id
    where loads.batch > {{ watermark('market_data_v2') }}
    union all
    select symbol, asset_class, published_at, {{ endless_future }}
    from {{ ref('int_exchange_inflows') }}
    where changed_in_batch > {{ watermark('market_data_v2') }}
),

changes as (
    select
        changed_bars.series_id,
        series.step_minutes,
        changed_bars.opened_at as changed_from,
        changed_bars.opened_at as changed_to
    from changed_bars
    inner join series on series.series_id = changed_bars.series_id
    union all
    select
        series.series_id,
        series.step_minutes,
        -- A bar's close is at most a step after its stamp (a day and an hour for local days).
        changed_derivatives.closes_from - {{ minutes('series.step_minutes') }} - interval '1 hour',
        changed_derivatives.closes_to
    from changed_derivatives
    inner join series
        on series.symbol = changed_derivatives.symbol and series.asset_class = changed_derivatives.asset_class
    union all
    -- The thresholds that validate bars changed: every bar of the series is looked at again.
    select
        series.series_id,
        series.step_minutes,
        {{ endless_past }},
        {{ endless_future }}
    from series
    inner join {{ ref('int_series_fingerprints') }} as rules
        on rules.series_id = series.series_id and rules.changed_in_batch > {{ watermark('market_data_v2') }}
),

-- Changes that no more than a window's length of time divides are one.
divided as (
    select
        *,
        case
            when
                changed_from > max(changed_to) over (
                    partition by series_id
                    order by changed_from, changed_to
                    rows between unbounded preceding and 1 preceding
                ) + {{ minutes(longest_window() ~ ' * step_minutes') }}
                then 1
            else 0
        end as starts_range
    from changes
),

numbered as (
    select
        *,
        sum(starts_range) over (
            partition by series_id order by changed_from, changed_to rows between unbounded preceding and current row
        ) as range_no
    from divided
),

ranges as (
    select
        series_id,
        range_no,
        min(changed_from) as changed_from,
        max(changed_to) as changed_to
    from numbered
    group by series_id, range_no
),

reaching as (
    select
        series_id,
        changed_from as write_from,
        greatest(
            {{ bars_away(ref('int_bars_selected'), 'ranges.series_id', '<', 'ranges.changed_from', 'desc') }},
            {{ bars_away(ref('int_bars_resampled'), 'ranges.series_id', '<', 'ranges.changed_from', 'desc') }}
        ) as read_from,
        coalesce(
            least(
                {{ bars_away(ref('int_bars_selected'), 'ranges.series_id', '>', 'ranges.changed_to', 'asc') }},
                {{ bars_away(ref('int_bars_resampled'), 'ranges.series_id', '>', 'ranges.changed_to', 'asc') }}
            ),
            {{ endless_future }}
        ) as write_to
    from ranges
),

-- Time divides ranges more than bars do (nights, weekends), so two may now overlap: then they are one.
overlapping as (
    select
        *,
        case
            when
                write_from > max(write_to) over (
                    partition by series_id
                    order by write_from, write_to
                    rows between unbounded preceding and 1 preceding
                )
                then 1
            else 0
        end as starts_range
    from reaching
),

merged as (
    select
        *,
        sum(starts_range) over (
            partition by series_id order by write_from, write_to rows between unbounded preceding and current row
        ) as range_no
    from overlapping
),

final as (
    select
        series_id,
        cast(range_no as integer) as range_no,
        coalesce(case when count(read_from) = count(*) then min(read_from) end, {{ endless_past }}) as read_from,
        min(write_from) as write_from,
        max(write_to) as write_to,
        count(read_from) < count(*) as reads_from_start
    from merged
    group by series_id, range_no
)
{%- endif %}

select * from final
