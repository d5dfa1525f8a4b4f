{#- How finer bars become coarser ones: int_bars_resampled makes them as they are now, int_resampled_versions as they were
    after each load. Both read a relation `parts`: one row per base bar of a coarse bar, with the values of the base bar,
    is_valid, is_retracted, has_no_trades (a base bar that is not there and is not expected), first_batch and batch. -#}

{# Condition: the row is one that values are taken from. A coarse bar all of whose base bars were retracted keeps the
   values that it had, flagged. #}
{% macro is_part() -%}
    (is_valid or (is_retracted and last_valid_at is null))
{%- endmacro %}

{# CTEs from `parts` to `aggregated`: one row per combination of `keys`. `carried`: columns that are equal in all rows of
   a combination. #}
{% macro aggregate_parts(keys, forward_filled) %}
ended as (
    select
        *,
        min(case when is_valid then base_opened_at end) over expected_bar as first_valid_at,
        max(case when is_valid then base_opened_at end) over expected_bar as last_valid_at,
        min(case when is_retracted then base_opened_at end) over expected_bar as first_retracted_at,
        max(case when is_retracted then base_opened_at end) over expected_bar as last_retracted_at
    from parts
    window expected_bar as (partition by {{ keys | join(', ') }})
),

bounded as (
    select
        *,
        {{ is_part() }} as is_part,
        coalesce(first_valid_at, first_retracted_at) as first_base_at,
        coalesce(last_valid_at, last_retracted_at) as last_base_at
    from ended
),

-- The basis of a resampled bar is that of its last session: a split inside a week converts the days before it.
based as (
    select
        *,
        max(case when base_opened_at = last_base_at then split_factor end) over (
            partition by {{ keys | join(', ') }}
        ) as target_split_factor
    from bounded
),

summed as (
    select
        {{ keys | join(', ') }},
        {% for column in forward_filled -%}
        max({{ column }}) as {{ column }},
        {% endfor -%}
        case
            when min(case when is_part then source end) = max(case when is_part then source end)
                then min(case when is_part then source end)
            else min(case when is_part then source end) || '+' || max(case when is_part then source end)
        end as source,
        -- A bar of several sources ranks as its last one.
        case when max(last_valid_at) is not null then max(case when is_part then source_rank end) end as source_rank,
        max(target_split_factor) as split_factor,
        max(case when is_part and base_opened_at = first_base_at then {{ in_basis('open') }} end) as open,
        max(case when is_part then {{ in_basis('high') }} end) as high,
        min(case when is_part then {{ in_basis('low') }} end) as low,
        max(case when is_part and base_opened_at = last_base_at then {{ in_basis('close') }} end) as close,
        -- NULL if any part has none.
        case
            when count(case when is_part then volume end) = count(case when is_part then 1 end)
                then sum(
                    case
                        when not is_part then 0
                        when split_factor = target_split_factor then volume
                        else round(volume * target_split_factor / split_factor, 8)
                    end
                )
        end as volume,
        case
            when count(case when is_part then taker_buy_volume end) = count(case when is_part then 1 end)
                then sum(case when is_part then taker_buy_volume else 0 end)
        end as taker_buy_volume,
        sum(coalesce(revision - 1, 0)) as parts_amended,
        max(case when is_part then first_seen_at end) as first_seen_at,
        max(case when is_part then fetched_at end) as fetched_at,
        min(first_batch) as first_batch,
        max(batch) as last_batch,
        max(base_closed_at) as last_base_closed_at,
        count(case when is_valid then 1 end) as bars_present,
        count(case when has_no_trades then 1 end) as bars_without_trades
    from based
    group by {{ keys | join(', ') }}
),

-- What its columns cannot hold is no value: sums of volumes, prices of a week in the basis of its last day.
aggregated as (
    select
        summed.*,
        {% for column, type in {
            'open': [19, 10], 'high': [19, 10], 'low': [19, 10], 'close': [19, 10], 'volume': [28, 8], 'taker_buy_volume': [28, 8]
        }.items() -%}
        {{ 'or ' if not loop.first }}({{ column }} is not null and {{ fits(column, type[0], type[1]) }} is null)
        {% endfor -%}
        as is_beyond_columns
    from summed
    where source is not null
),
{% endmacro %}

{# Base bars that a coarse bar has room for. #}
{% macro room_for_base_bars() -%}
    cast(
        case
            when step_minutes >= 1440 then base_bars_expected
            else ceil(
                ({{ epoch_seconds('closed_at') }} - {{ epoch_seconds('greatest(opened_at, base_first_expected_at)') }})
                / (60.0 * base_step_minutes)
            )
        end as integer
    )
{%- endmacro %}

{# Why a resampled bar is not valid; NULL if it is. #}
{% macro failed_resampling_checks() -%}
    case
        when bars_present = 0 then 'withdrawn by ' || source
        when bars_present < {{ var('min_data_completeness') }} * bars_expected
            then 'incomplete: ' || bars_present || ' of ' || bars_expected || ' ' || base_timeframe || ' bars'
        when is_beyond_columns then 'price or volume beyond its column'
    end
{%- endmacro %}

{# CTEs from `expected_to_date` (series_id, base_series_id, opened_at, closed_at, session_date, step_minutes of coarse bars) to
   `dated`: the load in which the first base bar at or after the end of each came, or the first answer of its session
   that covers the end, since when the bar is over. Base bars and ends are put in one timeline, and the earliest load of what
   lies behind is carried forward along it. #}
{% macro date_ends_of_targets() %}
base_reads as (
    select
        base_series_id,
        min(opened_at) as reads_from
    from expected_to_date
    group by base_series_id
),

ends_in_line as (
    select
        bars.series_id as base_series_id,
        bars.closed_at,
        0 as is_target,
        bars.first_batch,
        cast(null as integer) as series_id,
        cast(null as {{ instant_type() }}) as opened_at,
        cast(null as date) as session_date,
        cast(null as integer) as step_minutes
    from base_reads
    inner join {{ ref('int_bars_selected') }} as bars
        on bars.series_id = base_reads.base_series_id and bars.opened_at >= base_reads.reads_from
    where bars.is_active

    union all

    select base_series_id, closed_at, 1, cast(null as integer), series_id, opened_at, session_date, step_minutes
    from expected_to_date
),

forward_filled_batches as (
    select
        *,
        min(first_batch) over (
            partition by base_series_id
            order by closed_at desc, is_target asc
            rows between unbounded preceding and current row
        ) as over_in_batch
    from ends_in_line
),

dated as (
    select
        forward_filled.series_id,
        forward_filled.base_series_id,
        forward_filled.opened_at,
        nullif(
            least(coalesce(forward_filled.over_in_batch, {{ in_force() }}), coalesce(answered.batch, {{ in_force() }})),
            {{ in_force() }}
        ) as over_in_batch
    from forward_filled_batches as forward_filled
    left join lateral (
        select min(sessions.batch) as batch
        from {{ ref('int_answered_sessions') }} as sessions
        where
            sessions.series_id = forward_filled.base_series_id
            and sessions.session_date >= forward_filled.session_date
            and sessions.session_date <= forward_filled.session_date + case when forward_filled.step_minutes = 10080 then 6 else 0 end
            and sessions.covered_to >= forward_filled.closed_at
    ) as answered on true
    where forward_filled.is_target = 1
),
{% endmacro %}

{# Condition: of a `native` and a `resampled` bar of one key the resampled one is the series': valid before flagged, then
   the source that comes first, then native. #}
{% macro resampled_wins() -%}
    (
        (resampled.is_valid and not native.is_valid)
        or (
            resampled.is_valid = native.is_valid
            and coalesce(resampled.source_rank, 1000) < coalesce(native.source_rank, 1000)
        )
    )
{%- endmacro %}

{# What a change of is a new version of a bar. #}
{% macro versioned_columns() -%}
    {{ return(['is_valid', 'source', 'open', 'high', 'low', 'close', 'volume', 'taker_buy_volume']) }}
{%- endmacro %}

{# How often the bar of a key changed (value, source, verdict) that both a provider and our resampling have: `native` and
   `resampled`, one of them the winner. Where either came in several versions these are replayed load by load, else the
   winner is the second version if it came later than the loser. #}
{% macro revision_of_both(winner, loser) -%}
    case
        when native.revision = 1 and not resampled.is_replayed
            then
                case
                    when
                        {{ loser }}.batch < {{ winner }}.batch
                        and (
                            {%- for column in versioned_columns() %}
                            {{ 'or ' if not loop.first }}{{ loser }}.{{ column }} is distinct from {{ winner }}.{{ column }}
                            {%- endfor %}
                        )
                        then 2
                    else 1
                end
        else (
            with

            states as (
                {% set columns = versioned_columns()[1:] + ['source_rank'] -%}
                select
                    0 as is_resampled,
                    versions.batch,
                    lead(versions.batch) over (order by versions.revision asc) as superseded_in,
                    versions.failed_checks is null as is_valid,
                    versions.{{ columns | join(', versions.') }}
                from {{ ref('int_bar_versions') }} as versions
                where
                    versions.series_id = native.series_id
                    and versions.opened_at = native.opened_at
                    and native.revision > 1
                union all
                select 0, native.batch, null, native.is_valid, native.{{ columns | join(', native.') }}
                where native.revision = 1
                union all
                select
                    1,
                    versions.batch,
                    lead(versions.batch) over (order by versions.revision asc),
                    versions.is_valid,
                    versions.{{ columns | join(', versions.') }}
                from {{ ref('int_resampled_versions') }} as versions
                where
                    versions.series_id = resampled.series_id
                    and versions.opened_at = resampled.opened_at
                    and resampled.is_replayed
                union all
                select 1, resampled.batch, null, resampled.is_valid, resampled.{{ columns | join(', resampled.') }}
                where not resampled.is_replayed
            ),

            ranked as (
                select
                    states.*,
                    as_of_times.batch as as_of_batch,
                    row_number() over (
                        partition by as_of_times.batch
                        order by
                            case when states.is_valid then 0 else 1 end,
                            coalesce(states.source_rank, 1000),
                            states.is_resampled
                    ) as place
                from (
                    select distinct batch
                    from states
                ) as as_of_times
                inner join states
                    on
                        states.batch <= as_of_times.batch
                        and coalesce(states.superseded_in, 2147483647) > as_of_times.batch
            ),

            winners as (
                select
                    not ( -- noqa: LT01, LT06
                        {%- for column in versioned_columns() %}
                        {{ 'and ' if not loop.first }}lag({{ column }}) over in_order is not distinct from {{ column }}
                        {%- endfor %}
                    ) as is_new
                from ranked
                where place = 1
                window in_order as (order by as_of_batch)
            )

            select cast(count(*) as integer)
            from winners
            where is_new
        )
    end
{%- endmacro %}
