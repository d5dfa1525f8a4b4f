{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        indexes=[{'columns': ['series_id', 'opened_at', 'revision'], 'unique': true}],
        pre_hook=['{{ delete_changed_bars() }}', '{{ delete_replaced_series() }}'],
        post_hook=["{{ advance_watermark([ref('int_bar_revisions')]) }}", '{{ analyze() }}']
    )
}}
-- depends_on: {{ ref('int_series_fingerprints') }}
-- depends_on: {{ ref('int_bars_changed') }}
-- The versions that a bar went through, for bars with more than one observation: after each load, the observation of the
-- first source whose latest one passes the checks; if none passes, the first source's, flagged. Replayed from the log
-- load by load, so that it does not depend on how often this model ran.
with

observations as (
    select observations.*
    from {{ ref('int_bar_observations') }} as observations
    inner join (
        select revisions.series_id, revisions.opened_at
        from {{ ref('int_bar_revisions') }} as revisions
        {% if is_incremental() -%}
        inner join {{ ref('int_bars_changed') }} as changed
            on changed.series_id = revisions.series_id and changed.opened_at = revisions.opened_at
        {%- endif %}
        group by revisions.series_id, revisions.opened_at
        having count(*) > 1
    ) as several
        on several.series_id = observations.series_id and several.opened_at = observations.opened_at
),

-- A retracted bar keeps the values it had, flagged.
spoken as (
    select
        series_id,
        opened_at,
        closed_at,
        session_date,
        expected_no,
        source,
        -- A bar that no source has any more ranks last.
        case when not is_retracted then source_rank end as source_rank,
        batch,
        fetched_at,
        is_retracted,
        split_factor,
        case when is_retracted then 'withdrawn by ' || source else failed_checks end as failed_checks,
        case when is_retracted then lag(open) over by_source else open end as open,
        case when is_retracted then lag(high) over by_source else high end as high,
        case when is_retracted then lag(low) over by_source else low end as low,
        case when is_retracted then lag(close) over by_source else close end as close,
        case when is_retracted then lag(volume) over by_source else volume end as volume,
        case when is_retracted then lag(taker_buy_volume) over by_source else taker_buy_volume end as taker_buy_volume,
        lead(batch) over by_source as superseded_in
    from observations
    window by_source as (partition by series_id, opened_at, source order by revision)
),

as_of_times as (
    select distinct series_id, opened_at, batch
    from spoken
),

candidates as (
    select
        spoken.*,
        as_of_times.batch as as_of_batch,
        max(case when spoken.batch = as_of_times.batch then spoken.fetched_at end) over moment as said_at,
        row_number() over (
            partition by spoken.series_id, spoken.opened_at, as_of_times.batch
            order by
                case when spoken.failed_checks is null then 0 else 1 end,
                case when spoken.is_retracted then 1 else 0 end,
                spoken.source_rank asc nulls last
        ) as place
    from as_of_times
    inner join spoken
        on
            spoken.series_id = as_of_times.series_id
            and spoken.opened_at = as_of_times.opened_at
            and spoken.batch <= as_of_times.batch
            and coalesce(spoken.superseded_in, 2147483647) > as_of_times.batch
    window moment as (partition by spoken.series_id, spoken.opened_at, as_of_times.batch)
),

compared as (
    select
        *,
        not ( -- noqa: LT01, LT06
            lag(source) over over_time is not distinct from source
            and lag(open) over over_time is not distinct from open
            and lag(high) over over_time is not distinct from high
            and lag(low) over over_time is not distinct from low
            and lag(close) over over_time is not distinct from close
            and lag(volume) over over_time is not distinct from volume
            and lag(taker_buy_volume) over over_time is not distinct from taker_buy_volume
            and lag(failed_checks) over over_time is not distinct from failed_checks
        ) as is_new_version
    from candidates
    where place = 1
    window over_time as (partition by series_id, opened_at order by as_of_batch)
),

final as (
    select
        series_id,
        opened_at,
        cast(row_number() over over_time as integer) as revision,
        as_of_batch as batch,
        said_at as amended_at,
        closed_at,
        session_date,
        expected_no,
        source,
        source_rank,
        is_retracted,
        open,
        high,
        low,
        close,
        volume,
        taker_buy_volume,
        split_factor,
        failed_checks,
        min(as_of_batch) over over_time as first_batch,
        min(fetched_at) over over_time as first_seen_at,
        fetched_at,
        lead(as_of_batch) over over_time is null as is_latest
    from compared
    where is_new_version
    window over_time as (partition by series_id, opened_at order by as_of_batch)
)

select * from final
