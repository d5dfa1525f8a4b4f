{%- set values = [
    'funding_rate', 'reported_interval_hours', 'interval_hours', 'funding_rate_percentile', 'next_settled_at'
] -%}
{{
    config(
        materialized='incremental',
        unique_key=['symbol', 'asset_class', 'settled_at'],
        incremental_strategy='merge',
        indexes=[{'columns': ['symbol', 'asset_class', 'settled_at'], 'unique': true}],
        pre_hook=['{{ delete_replaced_assets() }}'],
        post_hook=["{{ advance_watermark([ref('int_loads')]) }}", '{{ analyze() }}']
    )
}}
-- depends_on: {{ ref('int_series_fingerprints') }}
-- One row per settlement with its mid-rank among the last 90, itself included, computed here once per settlement and
-- never per bar. Rates are compared per hour, since symbols settle every 8, 4 or 1 hours.
{%- set ranked_settlements = 90 %}
with

arrived as (
    select
        settlements.symbol,
        settlements.asset_class,
        settlements.settled_at,
        cast(settlements.funding_rate as numeric(11, 8)) as funding_rate,
        row_number() over (
            partition by settlements.symbol, settlements.asset_class, settlements.settled_at
            order by
                loads.batch desc,
                settlements.fetched_at desc,
                settlements.interval_hours desc nulls last,
                settlements.funding_rate desc
        ) as age,
        first_value(settlements.interval_hours) over (
            partition by settlements.symbol, settlements.asset_class, settlements.settled_at
            order by
                case when settlements.interval_hours is null then 1 else 0 end,
                loads.batch desc,
                settlements.fetched_at desc,
                settlements.interval_hours desc
            rows between unbounded preceding and current row
        ) as reported_interval_hours
    from ({{ staged('derivatives', 'funding_rates') }}) as settlements
    inner join {{ ref('int_loads') }} as loads on loads.provider = settlements.source and loads.load_id = settlements.load_id
    where
        {{ is_new_load('int_funding_rates', 'settlements.load_id') }}
        or {{ is_of_replaced_asset('int_funding_rates', 'settlements') }}
),

changed_rows as (
    select
        arrived.symbol,
        arrived.asset_class,
        arrived.settled_at,
        arrived.funding_rate,
        {% if is_incremental() -%}
        -- The archive reports the interval, the REST answer that may come after it does not: the latest that was reported stays.
        coalesce(arrived.reported_interval_hours, existing.reported_interval_hours) as reported_interval_hours
        {%- else -%}
        arrived.reported_interval_hours
        {%- endif %}
    from arrived
    {% if is_incremental() -%}
    {{ left_join_existing('arrived', ['symbol', 'asset_class', 'settled_at']) }}
    {%- endif %}
    where arrived.age = 1
),

{% if is_incremental() -%}
first_change as (
    select
        symbol,
        asset_class,
        min(settled_at) as first_settled_at
    from changed_rows
    group by symbol, asset_class
),

-- From the 90 settlements before the first new one on: a rank looks back that far.
known as (
    select
        existing.symbol,
        existing.asset_class,
        existing.settled_at,
        existing.funding_rate,
        existing.reported_interval_hours
    from first_change
    inner join {{ this }} as existing
        on
            existing.symbol = first_change.symbol
            and existing.asset_class = first_change.asset_class
            and existing.settled_at >= coalesce(
                (
                    select min(earlier.settled_at)
                    from (
                        select
                            before.settled_at,
                            row_number() over (order by before.settled_at desc) as place
                        from {{ this }} as before
                        where
                            before.symbol = first_change.symbol
                            and before.asset_class = first_change.asset_class
                            and before.settled_at < first_change.first_settled_at
                    ) as earlier
                    where earlier.place <= {{ ranked_settlements }} + 1
                ),
                {{ instant('1970-01-01 00:00:00+00') }}
            )
    left join changed_rows
        on
            changed_rows.symbol = existing.symbol
            and changed_rows.asset_class = existing.asset_class
            and changed_rows.settled_at = existing.settled_at
    where changed_rows.symbol is null
),
{%- endif %}

settlements as (
    select symbol, asset_class, settled_at, funding_rate, reported_interval_hours from changed_rows
    {% if is_incremental() -%}
    union all
    select symbol, asset_class, settled_at, funding_rate, reported_interval_hours from known
    {%- endif %}
),

numbered as (
    select
        *,
        coalesce(
            reported_interval_hours,
            -- Settlements lie on whole hours: the distance to the one before is the interval unless one is missing.
            greatest(1, least(
                8,
                -- The first settlement has none before it: its distance is that to the next. Years apart, no integer
                -- of hours would hold it twice over.
                round(coalesce(
                    {{ epoch_seconds('settled_at') }} - {{ epoch_seconds('lag(settled_at) over in_order') }},
                    {{ epoch_seconds('lead(settled_at) over in_order') }} - {{ epoch_seconds('settled_at') }},
                    8 * 3600
                ) / 3600.0)
            ))
        ) as interval_hours,
        lead(settled_at) over in_order as next_settled_at,
        row_number() over in_order as number
    from settlements
    window in_order as (partition by symbol, asset_class order by settled_at)
),

hourly as (
    select
        *,
        -- Intervals divide a day, so the rate per day is an exact decimal.
        funding_rate * 24 / interval_hours as daily_rate
    from numbered
),

ranked as (
    select
        hourly.symbol,
        hourly.asset_class,
        hourly.settled_at,
        hourly.funding_rate,
        hourly.reported_interval_hours,
        hourly.interval_hours,
        hourly.next_settled_at,
        count(*) as settlements,
        sum(
            case
                when earlier.daily_rate < hourly.daily_rate then 2
                when earlier.daily_rate = hourly.daily_rate then 1
                else 0
            end
        ) as half_ranks
    from hourly
    inner join hourly as earlier
        on
            earlier.symbol = hourly.symbol
            and earlier.asset_class = hourly.asset_class
            and earlier.number between hourly.number - {{ ranked_settlements - 1 }} and hourly.number
    group by
        hourly.symbol, hourly.asset_class, hourly.settled_at, hourly.funding_rate, hourly.reported_interval_hours,
        hourly.interval_hours, hourly.next_settled_at
),

final as (
    select
        ranked.symbol,
        ranked.asset_class,
        ranked.settled_at,
        ranked.funding_rate,
        ranked.reported_interval_hours,
        ranked.interval_hours,
        ranked.next_settled_at,
        cast(
            case when ranked.settlements >= 30 then round(50.0 * ranked.half_ranks / ranked.settlements, 2) end
            as numeric(5, 2)
        ) as funding_rate_percentile,
        cast({{ processed_by(['int_loads']) }} as integer) as changed_in_batch
    from ranked
)

select final.* from final
{% if is_incremental() -%}
inner join first_change
    on
        first_change.symbol = final.symbol
        and first_change.asset_class = final.asset_class
{{ left_join_existing('final', ['symbol', 'asset_class', 'settled_at']) }}
where
    (
        final.settled_at >= first_change.first_settled_at
        -- The settlement before the first new one learns when the next one was.
        or final.next_settled_at = first_change.first_settled_at
    )
    and {{ differs('final', 'existing', 'symbol', values) }}
{%- endif %}
