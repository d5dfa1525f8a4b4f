{{
    config(
        materialized='incremental',
        unique_key=['symbol', 'asset_class', 'measure', 'sampled_at'],
        incremental_strategy='merge',
        indexes=[{'columns': ['symbol', 'asset_class', 'measure', 'sampled_at'], 'unique': true}],
        pre_hook=['{{ forget_replaced_assets() }}'],
        post_hook=["{{ advance_watermark(['int_loads']) }}", '{{ analyze() }}']
    )
}}
-- depends_on: {{ ref('int_series_rules') }}
-- Open interest and the long share of accounts, as sampled by the exchange. A stored open interest of 0 is an error of
-- the source: it stays a sample, without a value.
with

samples as (
    select
        symbol,
        asset_class,
        'open_interest' as measure,
        sampled_at,
        period,
        round(nullif(open_interest, 0), 8) as value,
        fetched_at,
        load_id
    from {{ ref('stg_binance__open_interest') }}

    union all

    select
        symbol,
        asset_class,
        'long_short_ratio',
        sampled_at,
        period,
        round(long_account / (long_account + short_account), 8),
        fetched_at,
        load_id
    from {{ ref('stg_binance__long_short_ratios') }}
),

arrived as (
    select
        samples.symbol,
        samples.asset_class,
        samples.measure,
        samples.sampled_at,
        cast(samples.value as numeric(28, 8)) as value,
        -- Usable for two sampling periods, and never less than an hour.
        samples.sampled_at
        + greatest({{ minutes('2 * coalesce(timeframes.step_minutes, 5)') }}, interval '1 hour') as usable_until,
        row_number() over (
            partition by samples.symbol, samples.asset_class, samples.measure, samples.sampled_at
            order by
                loads.load_no desc,
                samples.fetched_at desc,
                coalesce(timeframes.step_minutes, 5) asc,
                samples.value desc nulls last
        ) as age
    from samples
    inner join {{ ref('int_loads') }} as loads on loads.provider = 'binance' and loads.load_id = samples.load_id
    left join {{ ref('timeframes') }} as timeframes on timeframes.timeframe = samples.period
    where
        {{ is_new_load('int_futures_samples', 'samples.load_id') }}
        or {{ is_of_replaced_asset('int_futures_samples', 'samples') }}
)

select
    arrived.symbol,
    arrived.asset_class,
    arrived.measure,
    arrived.sampled_at,
    arrived.value,
    arrived.usable_until,
    cast({{ worked_in_by(['int_loads']) }} as integer) as changed_in_load
from arrived
{% if is_incremental() -%}
{{ left_join_kept('arrived', ['symbol', 'asset_class', 'measure', 'sampled_at']) }}
where arrived.age = 1 and {{ differs('arrived', 'kept', 'symbol', ['value', 'usable_until']) }}
{%- else -%}
where arrived.age = 1
{%- endif %}
