{{ config(materialized='view') }}
-- Every value of a feature that was written over in market_data_v2, with what explains it. A feature depends on its own bar
-- and earlier ones alone, so a value may change only when a bar at or before it was corrected, came late or was removed, when
-- a sample of its time came late, or when features were computed anew. A value that newer bars changed has looked ahead:
-- nothing explains it.
{%- set raw_fields = ['open', 'high', 'low', 'close', 'volume', 'taker_buy_volume', 'split_factor'] %}
{%- set endpoints_of = {
    'long_short_ratio': ['long_short_ratio', 'metrics'],
    'open_interest_change': ['open_interest', 'open_interest_now', 'metrics'],
    'funding_rate_percentile': ['funding'],
    'liquidation_intensity': ['liquidations'],
    'exchange_inflow': ['exchange_inflow'],
} %}
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
        {% for feature in all_features() -%}
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
    {% for feature in all_features() -%}
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

-- What happened to bars, per series and run.
events as (
    select
        symbol,
        asset_class,
        timeframe,
        rewritten_at,
        timestamp,
        case when is_removed then 'bar removed' else 'bar corrected' end as what
    from pairs
    where is_removed or is_corrected

    union all

    select
        history.symbol,
        history.asset_class,
        history.timeframe,
        history.dbt_valid_from,
        history.timestamp,
        'bar came late'
    from history
    left join ended on ended.id = history.id and ended.dbt_valid_to = history.dbt_valid_from
    where ended.id is null
),

first_events as (
    select
        symbol,
        asset_class,
        timeframe,
        rewritten_at,
        min(case when what = 'bar corrected' then timestamp end) as corrected_from,
        min(case when what = 'bar came late' then timestamp end) as late_from,
        min(case when what = 'bar removed' then timestamp end) as removed_from
    from events
    group by symbol, asset_class, timeframe, rewritten_at
),

-- The samples that each load brought, from the start of the window that was asked for.
features_of_endpoints as (
    {% for feature, endpoints in endpoints_of.items() -%}
    {% set last_feature = loop.last -%}
    {% for endpoint in endpoints -%}
    select '{{ feature }}' as feature, '{{ endpoint }}' as endpoint
    {% if not (loop.last and last_feature) %}union all{% endif %}
    {% endfor -%}
    {% endfor %}
),

samples as (
    select
        answers.symbol,
        answers.asset_class,
        features_of_endpoints.feature,
        loads.registered_at,
        min(coalesce(answers.window_start, timestamp with time zone '0001-01-01 00:00:00+00')) as first_sampled_at
    from {{ ref('stg_ops__answers') }} as answers
    inner join features_of_endpoints on features_of_endpoints.endpoint = answers.endpoint
    inner join {{ ref('int_loads') }} as loads on loads.provider = answers.source and loads.load_id = answers.load_id
    where answers.status = 'ok'
    group by answers.symbol, answers.asset_class, features_of_endpoints.feature, loads.registered_at
),

explained as (
    select
        rewrites.*,
        case
            when rebuilds.written_at is not null then 'computed anew'
            when first_events.corrected_from <= rewrites.timestamp then 'bar corrected'
            when first_events.late_from <= rewrites.timestamp then 'bar came late'
            when first_events.removed_from <= rewrites.timestamp then 'bar removed'
            when
                exists (
                    select 1
                    from samples
                    where
                        samples.symbol = rewrites.symbol
                        and samples.asset_class = rewrites.asset_class
                        and samples.feature = rewrites.feature
                        and samples.first_sampled_at <= rewrites.timestamp + {{ minutes('timeframes.step_minutes') }}
                        -- A second, for clocks that stand still.
                        and samples.registered_at >= rewrites.known_from - interval '1 second'
                        and samples.registered_at <= rewrites.rewritten_at
                )
                then 'sample came late'
        end as explained_by
    from rewrites
    inner join {{ ref('timeframes') }} as timeframes on timeframes.timeframe = rewrites.timeframe
    left join first_events
        on
            first_events.symbol = rewrites.symbol
            and first_events.asset_class = rewrites.asset_class
            and first_events.timeframe = rewrites.timeframe
            and first_events.rewritten_at = rewrites.rewritten_at
    left join ops.rebuilds as rebuilds
        on
            rebuilds.written_at = rewrites.rewritten_at
            and {{ place_in_list('rewrites.feature', 'rebuilds.features') }} is not null
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
