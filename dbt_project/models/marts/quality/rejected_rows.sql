{%- set since = watermark_before_moved_loads('rejected_rows') -%}
{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        indexes=[{'columns': ['symbol', 'asset_class', 'kind']}],
        pre_hook=['{{ forget_since_moved_loads() }}'],
        post_hook=["{{ advance_watermark(['int_loads']) }}"]
    )
}}
{%- set kinds = {
    'funding': (funding_rows(), 'settled_at', 'null'),
    'open_interest': (open_interest_rows(), 'sampled_at', 'period'),
    'long_short_ratio': (long_short_rows(), 'sampled_at', 'period'),
    'liquidation': (liquidation_rows(), 'traded_at', 'null'),
} -%}
-- Rows of answers that could not become a split, dividend, settlement, sample, liquidation or inflow, with the reason and
-- the row as it was received; bars have rejected_bars. Of an answer about the whole market the rows of our own assets
-- count. A row that is sent again is counted again.
with

loads as (
    select load_no, provider, load_id
    from {{ ref('int_loads') }}
),

rejected as (
    {% for kind, (rows, at, period) in kinds.items() -%}
    select
        'binance' as source,
        '{{ kind }}' as kind,
        symbol,
        asset_class,
        cast({{ period }} as text) as timeframe,
        {{ at }} as timestamp,
        reject_reason as reason,
        payload_row,
        window_start,
        fetched_at,
        load_id
    from ({{ rows }}) as {{ kind }}_rows
    where reject_reason is not null and {{ is_new_load('rejected_rows', 'load_id', since) }}

    union all

    {% endfor -%}
    select
        'coinmetrics',
        'exchange_inflow',
        symbol,
        asset_class,
        '1d',
        {{ local_instant('day', "'00:00'", "'UTC'") }},
        reject_reason,
        payload_row,
        window_start,
        fetched_at,
        load_id
    from ({{ inflow_rows() }}) as inflow_rows
    where reject_reason is not null and {{ is_new_load('rejected_rows', 'load_id', since) }}

    {% for provider in ['polygon', 'yahoo'] -%}
    {% for kind, rows in {'split': split_rows(provider), 'dividend': dividend_rows(provider)}.items() -%}
    union all

    select
        event_rows.source,
        '{{ kind }}',
        coalesce(event_rows.symbol, listings.symbol),
        coalesce(event_rows.asset_class, listings.asset_class),
        event_rows.timeframe,
        {{ local_instant('event_rows.ex_date', "'00:00'", "'UTC'") }},
        event_rows.reject_reason,
        event_rows.payload_row,
        event_rows.window_start,
        event_rows.fetched_at,
        event_rows.load_id
    from ({{ rows }}) as event_rows
    left join (
        select
            {{ provider }} as ticker,
            max(symbol) as symbol,
            max(asset_class) as asset_class
        from {{ ref('assets') }}
        where {{ provider }} is not null
        group by {{ provider }}
    ) as listings
        on event_rows.symbol is null and listings.ticker = event_rows.ticker
    where
        event_rows.reject_reason is not null
        and coalesce(event_rows.symbol, listings.symbol) is not null
        and {{ is_new_load('rejected_rows', 'event_rows.load_id', since) }}

    {% endfor -%}
    {% endfor %}
),

final as (
    select
        cast(rejected.source as varchar(20)) as source,
        cast(rejected.kind as text) as kind,
        rejected.symbol,
        rejected.asset_class,
        rejected.timeframe,
        rejected.timestamp,
        rejected.reason,
        rejected.payload_row,
        rejected.window_start,
        rejected.fetched_at,
        cast(loads.load_no as integer) as load_no
    from rejected
    inner join loads on loads.provider = rejected.source and loads.load_id = rejected.load_id
)

select * from final
