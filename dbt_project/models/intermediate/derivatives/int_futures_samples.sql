{{
    config(
        materialized='incremental',
        unique_key=['symbol', 'asset_class', 'measure', 'sampled_at'],
        incremental_strategy='merge',
        indexes=[{'columns': ['symbol', 'asset_class', 'measure', 'sampled_at'], 'unique': true}],
        pre_hook=['{{ delete_replaced_assets() }}'],
        post_hook=["{{ advance_watermark([ref('int_loads')]) }}", '{{ analyze() }}']
    )
}}
-- depends_on: {{ ref('int_series_fingerprints') }}
-- Open interest and the long share of accounts, as sampled by the exchange, each at the moment at which it was taken
-- (which its label may not be: sample_taken_at). An open interest that is not above 0 is an error of the source: it stays
-- a sample, without a value, and replaces none that another answer had (a corrected file may be worse). Samples without
-- a period (the point endpoint's) are left out: no backfill can bring them, and bars loaded live would see what the same
-- bars loaded later do not.
with

samples as (
    select
        source,
        symbol,
        asset_class,
        'open_interest' as measure,
        sampled_at,
        period,
        origin,
        window_start,
        round(open_interest, 8) as value,
        fetched_at,
        load_id
    from ({{ staged('derivatives', 'open_interest') }}) as open_interest

    union all

    select
        source,
        symbol,
        asset_class,
        'long_short_ratio',
        sampled_at,
        period,
        origin,
        window_start,
        round(long_account / (long_account + short_account), 8),
        fetched_at,
        load_id
    from ({{ staged('derivatives', 'long_short_ratios') }}) as long_short_ratios
),

timed as (
    select
        samples.symbol,
        samples.asset_class,
        samples.measure,
        samples.sampled_at as labelled_at,
        samples.value,
        samples.fetched_at,
        loads.batch,
        timeframes.step_minutes,
        {{ sample_taken_at('samples.sampled_at', 'timeframes.step_minutes', 'samples.origin', 'samples.window_start') }}
            as sampled_at
    from samples
    inner join {{ ref('int_loads') }} as loads on loads.provider = samples.source and loads.load_id = samples.load_id
    inner join {{ ref('timeframes') }} as timeframes on timeframes.timeframe = samples.period
    where
        {{ is_new_load('int_futures_samples', 'samples.load_id') }}
        or {{ is_of_replaced_asset('int_futures_samples', 'samples') }}
    {{ optimization_fence() }}
),

valued as (
    select
        *,
        {{ fits("case when measure <> 'open_interest' or value > 0 then value end", 28, 8) }} as kept_value
    from timed
),

arrived as (
    select
        symbol,
        asset_class,
        measure,
        sampled_at,
        kept_value as value,
        -- Usable for two sampling periods, and never less than an hour.
        sampled_at + greatest({{ minutes('2 * step_minutes') }}, interval '1 hour') as usable_until,
        row_number() over (
            partition by symbol, asset_class, measure, sampled_at
            order by
                case when kept_value is null then 1 else 0 end,
                batch desc,
                fetched_at desc,
                step_minutes asc,
                labelled_at asc,
                kept_value desc nulls last
        ) as age
    from valued
)

select
    arrived.symbol,
    arrived.asset_class,
    arrived.measure,
    arrived.sampled_at,
    arrived.value,
    arrived.usable_until,
    cast({{ processed_by(['int_loads']) }} as integer) as changed_in_batch
from arrived
{% if is_incremental() -%}
{{ left_join_existing('arrived', ['symbol', 'asset_class', 'measure', 'sampled_at']) }}
where
    arrived.age = 1
    and (arrived.value is not null or existing.value is null)
    and {{ differs('arrived', 'existing', 'symbol', ['value', 'usable_until']) }}
{%- else -%}
where arrived.age = 1
{%- endif %}
