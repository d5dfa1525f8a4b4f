{{ config(materialized='view') }}
{%- set values = [] %}
{%- for source in sources('actions') %}{% do values.append('events.' ~ source ~ '_value') %}{% endfor %}
-- Splits and dividends as each source reports them, side by side, and what was set by hand: whether they agree, which one is
-- used, and why.
with

reported as (
    select
        symbol,
        asset_class,
        kind,
        ex_date,
        source,
        is_retracted,
        alternatives,
        round(split_to / split_from, 10) as ratio
    from {{ ref('int_actions_reported') }}
),

by_hand as (
    select * from {{ ref('stg_ops__manual_actions') }}
    where is_latest
),

dividends as (
    select * from {{ ref('int_dividends') }}
),

-- One row per event, each source's observation a column; a retracted one has none.
events as (
    select
        reported.symbol,
        reported.asset_class,
        reported.kind,
        reported.ex_date,
        {% for source in sources('actions') -%}
        max(case when reported.source = '{{ source }}' then coalesce(reported.ratio, dividends.amount) end) as {{ source }}_value,
        {% endfor -%}
        count(distinct case
            when reported.source <> 'manual' and coalesce(reported.ratio, dividends.amount) is not null then reported.source
        end) as sources,
        max(case when reported.is_retracted or reported.source = 'manual' then 0 else 1 end) = 0 as is_retracted,
        max(case when reported.is_retracted then reported.source end) as retracted_by,
        max(case when dividends.is_reported_elsewhere then 1 else 0 end) = 1 as is_dividend_of_other_date,
        max(dividends.currency) as currency,
        max(case when reported.source = 'manual' then coalesce(reported.ratio, dividends.amount) end) as manual_value,
        string_agg(reported.source || ': ' || reported.alternatives, '; ' order by reported.source) as alternatives
    from reported
    left join dividends
        on
            reported.kind = 'dividend'
            and dividends.symbol = reported.symbol
            and dividends.asset_class = reported.asset_class
            and dividends.ex_date = reported.ex_date
            and dividends.source = reported.source
    group by reported.symbol, reported.asset_class, reported.kind, reported.ex_date
),

used as (
    select
        symbol,
        asset_class,
        'split' as kind,
        ex_date,
        source,
        round(split_to / split_from, 10) as value,
        cast(null as numeric) as close_before,
        cast(null as numeric) as dividend_factor
    from {{ ref('int_splits') }}
    where split_to <> split_from

    union all

    select
        dividends.symbol,
        dividends.asset_class,
        'dividend',
        dividends.ex_date,
        dividends.source,
        dividends.amount,
        factors.close_before,
        factors.dividend_factor
    from dividends
    left join {{ ref('int_dividend_factors') }} as factors
        on
            factors.symbol = dividends.symbol
            and factors.asset_class = dividends.asset_class
            and factors.ex_date = dividends.ex_date
    where dividends.is_used
),

classified as (
    select
        events.*,
        used.source as used_source,
        used.value as used_value,
        used.close_before,
        used.dividend_factor,
        by_hand.change,
        by_hand.reason as manual_reason,
        by_hand.corrected_by,
        by_hand.corrected_at,
        case
            when events.manual_value is not null then 'by hand'
            when events.is_retracted then 'withdrawn'
            when used.source is null and events.alternatives is not null then 'contradictory'
            when used.source is null and events.kind = 'split' and coalesce({{ values | join(', ') }}) = 1
                then 'one source'
            when used.source is null and (events.kind = 'split' or events.is_dividend_of_other_date) then 'other date'
            when events.sources < 2 then 'one source'
            when greatest({{ values | join(', ') }}) - least({{ values | join(', ') }}) <= case events.kind
                when 'split' then 0.000001 * coalesce({{ values | join(', ') }}, 0)
                else greatest(0.001, 0.005 * coalesce({{ values | join(', ') }}, 0))
            end then 'agreed'
            else 'differs'
        end as verdict
    from events
    left join used
        on
            used.symbol = events.symbol
            and used.asset_class = events.asset_class
            and used.kind = events.kind
            and used.ex_date = events.ex_date
    left join by_hand
        on
            by_hand.symbol = events.symbol
            and by_hand.asset_class = events.asset_class
            and by_hand.kind = events.kind
            and by_hand.ex_date = events.ex_date
),

final as (
    select
        cast(symbol as varchar(20)) as symbol,
        cast(asset_class as varchar(10)) as asset_class,
        kind,
        ex_date,
        {%- for source in sources('actions') %}
        {{ fits(source ~ '_value', 24, 10) }} as {{ source }}_value,
        {%- endfor %}
        verdict,
        case
            when used_source is null then false
            when kind = 'split' then true
            else coalesce(dividend_factor > 0, false)
        end as is_used,
        cast(used_source as varchar(20)) as used_source,
        {{ fits('used_value', 24, 10) }} as used_value,
        case
            when verdict = 'by hand'
                then case change when 'strike' then 'struck' else 'set' end || ' by ' || corrected_by || ': ' || manual_reason
            when verdict = 'contradictory' then 'two of one date, and nothing shows which one is right: ' || alternatives
            when verdict = 'withdrawn' then 'no longer reported by ' || retracted_by
            when verdict = 'other date'
                then 'dated a few days off by a better source, or where the prices bear it out: counted there'
            when used_source is null and kind = 'split' then 'a ratio of 1: no share is split'
            when used_source is null then 'paid in ' || currency || ', and prices are in USD'
            when kind = 'dividend' and close_before is null then 'no valid day before it: not in the total return'
            when kind = 'dividend' and dividend_factor <= 0 then 'not less than the close before it: not in the total return'
            when verdict = 'one source' then 'reported by ' || used_source || ' only'
            when verdict = 'agreed' then used_source || ' comes first in the order of sources, the other one agrees'
            else used_source || ' comes first in the order of sources, the other one differs'
        end as reason,
        {{ fits('close_before', 19, 10) }} as close_before,
        {{ fits('dividend_factor', 20, 12) }} as dividend_factor,
        cast(case when change <> 'withdraw' then corrected_by end as text) as corrected_by,
        case when change <> 'withdraw' then corrected_at end as corrected_at
    from classified
)

select * from final
