{{ config(materialized='view') }}
-- Every value of a feature that was written over in market_data_v2, with what explains it. A feature depends on its own bar
-- and earlier ones alone, as far back as the longest window looks, so a value may change only when a bar that near was
-- corrected, came late or was removed in the same run, when a sample that near came late, or when features were computed
-- again. A value that newer bars changed has looked ahead: nothing explains it. Nor does a correction farther back.
{%- set raw_fields = ['open', 'high', 'low', 'close', 'volume', 'taker_buy_volume', 'split_factor'] %}
{%- set sampled_features = features().values() | selectattr('samples', 'defined') | list %}
with

history as (
    select * from {{ ref('market_data_history') }}
),

ended as (
    select * from {{ ref('market_data_history') }}
    where dbt_valid_to is not null
),

pairs as (
    select
        ended.id,
        ended.symbol,
        ended.asset_class,
        ended.timeframe,
        ended.timestamp,
        ended.dbt_valid_from as known_from,
        ended.dbt_valid_to as rewritten_at,
        history.id is null as is_removed,
        {% for feature in features() -%}
        cast(ended.{{ feature }} as text) as old_{{ feature }},
        cast(history.{{ feature }} as text) as new_{{ feature }},
        {% endfor -%}
        case
            when (ended.hlc3 is null) <> (history.hlc3 is null) then true
            {%- for field in raw_fields %}
            when (history.{{ field }} is distinct from ended.{{ field }}) then true
            {%- endfor %}
            else false
        end as is_corrected
    from ended
    left join history on history.id = ended.id and history.dbt_valid_from = ended.dbt_valid_to
),

rewrites as (
    {% for feature in features() -%}
    select
        id,
        symbol,
        asset_class,
        timeframe,
        timestamp,
        known_from,
        rewritten_at,
        '{{ feature }}' as feature,
        old_{{ feature }} as old_value,
        new_{{ feature }} as new_value
    from pairs
    where not is_removed and new_{{ feature }} is distinct from old_{{ feature }}
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

-- What happened to bars in the runs that wrote features over.
runs as (
    select distinct rewritten_at from rewrites
),

events as (
    select
        pairs.id,
        pairs.rewritten_at,
        case when pairs.is_removed then 'bar removed' else 'bar corrected' end as what
    from pairs
    inner join runs on runs.rewritten_at = pairs.rewritten_at
    where pairs.is_removed or pairs.is_corrected

    union all

    select
        history.id,
        history.dbt_valid_from,
        'bar came late'
    from history
    inner join runs on runs.rewritten_at = history.dbt_valid_from
    left join ended on ended.id = history.id and ended.dbt_valid_to = history.dbt_valid_from
    where ended.id is null
),

bars as (
    select
        id,
        symbol,
        asset_class,
        timeframe,
        timestamp,
        min(dbt_valid_from) as first_known_at,
        max(case when dbt_valid_to is null then 1 else 0 end) as is_there,
        max(case when hlc3 is null then 1 else 0 end) as was_invalid
    from history
    group by id, symbol, asset_class, timeframe, timestamp
),

removed_bars as (
    select distinct id from pairs
    where is_removed
),

-- Distances are counted in bars that windows have always seen: where bars came, went or were invalid it is taken for
-- shorter than it was, so that nothing is compared with a window that had to look farther back.
steady_bars as (
    select
        bars.*,
        case
            when
                bars.is_there = 1
                and bars.was_invalid = 0
                and removed_bars.id is null
                and bars.first_known_at <= coalesce(
                    min(bars.first_known_at) over (
                        partition by bars.symbol, bars.asset_class, bars.timeframe
                        -- Later bars; counted from the far end, which Postgres does in one pass.
                        order by bars.timestamp desc
                        rows between unbounded preceding and 1 preceding
                    ),
                    bars.first_known_at
                )
                then 1
            else 0
        end as is_steady
    from bars
    left join removed_bars on removed_bars.id = bars.id
),

positioned as (
    select
        id,
        symbol,
        asset_class,
        timeframe,
        timestamp,
        sum(is_steady) over (
            partition by symbol, asset_class, timeframe
            order by timestamp
            rows between unbounded preceding and current row
        ) as place
    from steady_bars
),

happened as (
    select
        id,
        rewritten_at,
        what
    from events

    union all

    select distinct
        id,
        rewritten_at,
        'rewritten'
    from rewrites
),

-- How far back the nearest event of each kind lies.
distances as (
    select
        happened.id,
        happened.rewritten_at,
        happened.what,
        {% for what in ['bar corrected', 'bar came late', 'bar removed'] -%}
        positioned.place
        - max(case when happened.what = '{{ what }}' then positioned.place end) over so_far as {{ what | replace(' ', '_') }},
        {% endfor -%}
        positioned.timestamp
    from happened
    inner join positioned on positioned.id = happened.id
    window so_far as (
        partition by positioned.symbol, positioned.asset_class, positioned.timeframe, happened.rewritten_at
        order by positioned.timestamp
        range between unbounded preceding and current row
    )
),

-- The samples that each load brought, of the window that was asked for.
features_of_endpoints as (
    {% for feature in sampled_features -%}
    {% set last_feature = loop.last -%}
    {% for endpoint in feature.samples.endpoints -%}
    select
        '{{ feature.name }}' as feature,
        '{{ endpoint }}' as endpoint,
        {{ feature.samples.days or 'cast(null as integer)' }} as days_seen
    {% if not (loop.last and last_feature) %}union all{% endif %}
    {% endfor -%}
    {% endfor %}
),

samples as (
    select
        answers.symbol,
        answers.asset_class,
        features_of_endpoints.feature,
        features_of_endpoints.days_seen,
        loads.registered_at,
        min(coalesce(answers.window_start, timestamp with time zone '0001-01-01 00:00:00+00')) as first_sampled_at,
        max(coalesce(answers.window_end, timestamp with time zone '9999-01-01 00:00:00+00')) as last_sampled_at
    from {{ ref('stg_ops__answers') }} as answers
    inner join features_of_endpoints on features_of_endpoints.endpoint = answers.endpoint
    inner join {{ ref('int_loads') }} as loads on loads.provider = answers.source and loads.load_id = answers.load_id
    where answers.status = 'ok'
    group by
        answers.symbol,
        answers.asset_class,
        features_of_endpoints.feature,
        features_of_endpoints.days_seen,
        loads.registered_at
),

explained as (
    select
        rewrites.*,
        case
            when rebuilds.written_at is not null then 'computed again'
            when distances.bar_corrected <= {{ longest_window() }} then 'bar corrected'
            when distances.bar_came_late <= {{ longest_window() }} then 'bar came late'
            when distances.bar_removed <= {{ longest_window() }} then 'bar removed'
            when
                exists (
                    select 1
                    from samples
                    where
                        samples.symbol = rewrites.symbol
                        and samples.asset_class = rewrites.asset_class
                        and samples.feature = rewrites.feature
                        and samples.first_sampled_at <= rewrites.timestamp + {{ minutes('timeframes.step_minutes') }}
                        and (
                            samples.days_seen is null
                            or samples.last_sampled_at
                            >= rewrites.timestamp - {{ minutes('(samples.days_seen * 1440)') }}
                        )
                        -- A second, for clocks that are frozen.
                        and samples.registered_at >= rewrites.known_from - interval '1 second'
                        and samples.registered_at <= rewrites.rewritten_at
                )
                then 'sample came late'
            when
                exists (
                    select 1
                    from {{ ref('stg_ops__processed_quarantines') }} as moved
                    where
                        moved.written_at = rewrites.rewritten_at
                        and (
                            moved.symbols is null
                            or {{ position_in_list('rewrites.symbol', 'moved.symbols') }} is not null
                        )
                )
                then 'load quarantined'
        end as explained_by
    from rewrites
    inner join {{ ref('timeframes') }} as timeframes on timeframes.timeframe = rewrites.timeframe
    left join distances
        on
            distances.id = rewrites.id
            and distances.rewritten_at = rewrites.rewritten_at
            and distances.what = 'rewritten'
    left join ops.rebuilds as rebuilds
        on
            rebuilds.written_at = rewrites.rewritten_at
            and {{ position_in_list('rewrites.feature', 'rebuilds.features') }} is not null
),

final as (
    select
        id,
        symbol,
        asset_class,
        timeframe,
        timestamp,
        cast(feature as varchar(50)) as feature,
        old_value,
        new_value,
        rewritten_at,
        cast(explained_by as varchar(50)) as explained_by
    from explained
)

select * from final
