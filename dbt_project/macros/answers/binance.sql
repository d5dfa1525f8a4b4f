{#- The rows of Binance's answers that are no bars; see rows_of_answers.sql. -#}

{# Settled funding rates. fundingTime jitters by up to 47 ms after the settlement: floored to the second. The REST answer
   does not report the interval between settlements; the archive's CSV does, and what is no whole number of hours up to a
   day is none. #}
{% macro funding_rows() -%}
    select
        symbol, asset_class, settled_at, origin, window_start, fetched_at, load_id, payload_row,
        cast(case when abs(funding_rate) < 100 then funding_rate end as numeric(11, 8)) as funding_rate,
        case when interval_hours between 1 and 24 and mod(interval_hours, 1) = 0 then cast(interval_hours as integer) end
            as interval_hours,
        {{ first_reason({
            'about another symbol': names_another('asked', 'named'),
            'no readable time stamp': 'settled_at is null',
            'outside the window that was asked for': is_outside_asked('settled_at', 'window_start', 'window_end'),
            'no readable rate': 'funding_rate is null',
            'a rate of 100 or more': 'abs(funding_rate) >= 100',
        }) }} as reject_reason
    from (
        select
            answers.symbol,
            answers.asset_class,
            {{ instant_from_epoch(whole_quotient('numbers.settled_ms', 1000)) }} as settled_at,
            numbers.funding_rate,
            numbers.interval_hours,
            answers.provider_symbol as asked,
            numbers.named,
            answers.origin,
            answers.window_start,
            answers.window_end,
            answers.fetched_at,
            answers._dlt_load_id as load_id,
            rows.item as payload_row
        from {{ source('raw_binance', 'responses') }} as answers
        cross join lateral {{ json_items(
            "case when answers.origin = 'archive' then " ~ json_member('answers.payload', 'rows') ~ ' else answers.payload end'
        ) }} as rows (item, position)
        cross join lateral (
            select
                case
                    when answers.origin = 'archive' then {{ json_integer('rows.item', 0) }}
                    else {{ json_integer('rows.item', 'fundingTime') }}
                end as settled_ms,
                case
                    when answers.origin = 'archive' then {{ json_decimal('rows.item', 2) }}
                    else {{ json_decimal('rows.item', 'fundingRate') }}
                end as funding_rate,
                case when answers.origin = 'archive' then {{ json_decimal('rows.item', 1) }} end as interval_hours,
                case when answers.origin <> 'archive' then {{ json_text('rows.item', 'symbol') }} end as named
            {{ optimization_fence('answers.payload_sha') }}
        ) as numbers
        where answers.endpoint = 'funding' and answers.status = 'ok'
    ) as settlements
{%- endmacro %}

{# Samples of open interest, in base units: the history endpoint, the point endpoint and the archive's metrics. 0 is an
   error of the source that it stores itself: a sample, and no row to reject. #}
{% macro open_interest_rows() -%}
    select
        answers.symbol,
        answers.asset_class,
        answers.endpoint,
        labels.sampled_at,
        case when answers.endpoint = 'metrics' then '5m' else answers.timeframe end as period,
        numbers.open_interest,
        answers.origin,
        answers.window_start,
        answers.fetched_at,
        answers._dlt_load_id as load_id,
        rows.item as payload_row,
        {{ first_reason({
            'about another symbol': names_another('answers.provider_symbol', 'numbers.named'),
            'no readable time stamp': 'labels.sampled_at is null',
            'outside the window that was asked for':
                "answers.endpoint <> 'open_interest_now' and (" ~ is_outside_asked('labels.sampled_at') ~ ')',
            'no readable open interest': 'numbers.open_interest is null',
            'a negative open interest': 'numbers.open_interest < 0',
            'an open interest above 1e18': 'numbers.open_interest > 1e18',
        }) }} as reject_reason
    from {{ source('raw_binance', 'responses') }} as answers
    cross join lateral {{ json_items(
        "case answers.endpoint when 'metrics' then " ~ json_member('answers.payload', 'rows')
        ~ " when 'open_interest_now' then " ~ json_array_of('answers.payload') ~ ' else answers.payload end'
    ) }} as rows (item, position)
    cross join lateral (
        select
            case when answers.endpoint = 'metrics' then btrim({{ json_text('rows.item', 0) }}) end as label,
            case
                when answers.endpoint <> 'metrics'
                    then coalesce({{ json_integer('rows.item', 'timestamp') }}, {{ json_integer('rows.item', 'time') }})
            end as stamp,
            case
                when answers.endpoint = 'metrics' then {{ json_text('rows.item', 1) }}
                else {{ json_text('rows.item', 'symbol') }}
            end as named,
            case
                when answers.endpoint = 'metrics' then {{ json_decimal('rows.item', 2) }}
                else coalesce({{ json_decimal('rows.item', 'sumOpenInterest') }}, {{ json_decimal('rows.item', 'openInterest') }})
            end as open_interest
        {{ optimization_fence('answers.payload_sha') }}
    ) as numbers
    cross join lateral (
        select coalesce({{ instant_from_text('numbers.label') }}, {{ instant_from_epoch('numbers.stamp') }}) as sampled_at
        {{ optimization_fence('answers.payload_sha') }}
    ) as labels
    where answers.endpoint in ('open_interest', 'open_interest_now', 'metrics') and answers.status = 'ok'
{%- endmacro %}

{# Samples of the accounts that are long and short. The archive's metrics give the ratio long / short only: r to 1. Where
   those leave the field empty (all of early 2022) there is no sample, and no row to reject; a 0 in it is no share either:
   whoever is short is so against one who is long. #}
{% macro long_short_rows() -%}
    select
        answers.symbol,
        answers.asset_class,
        answers.endpoint,
        labels.sampled_at,
        case when answers.endpoint = 'metrics' then '5m' else answers.timeframe end as period,
        numbers.long_account,
        numbers.short_account,
        answers.origin,
        answers.window_start,
        answers.fetched_at,
        answers._dlt_load_id as load_id,
        rows.item as payload_row,
        {{ first_reason({
            'about another symbol': names_another('answers.provider_symbol', 'numbers.named'),
            'no readable time stamp': 'labels.sampled_at is null',
            'outside the window that was asked for': is_outside_asked('labels.sampled_at'),
            'no readable ratio': 'numbers.long_account is null or numbers.short_account is null',
            'a negative share': 'numbers.long_account < 0 or numbers.short_account < 0',
            'a share of nobody': 'numbers.long_account = 0 and numbers.short_account = 0',
            'a ratio of 0': "answers.endpoint = 'metrics' and numbers.long_account = 0",
            'a share above 1e9': 'greatest(numbers.long_account, numbers.short_account) > 1e9',
        }) }} as reject_reason
    from {{ source('raw_binance', 'responses') }} as answers
    cross join lateral {{ json_items(
        "case when answers.endpoint = 'metrics' then " ~ json_member('answers.payload', 'rows') ~ ' else answers.payload end'
    ) }} as rows (item, position)
    cross join lateral (
        select
            case when answers.endpoint = 'metrics' then btrim({{ json_text('rows.item', 0) }}) end as label,
            case when answers.endpoint <> 'metrics' then {{ json_integer('rows.item', 'timestamp') }} end as stamp,
            case
                when answers.endpoint = 'metrics' then {{ json_text('rows.item', 1) }}
                else {{ json_text('rows.item', 'symbol') }}
            end as named,
            case
                when answers.endpoint = 'metrics' then {{ json_decimal('rows.item', 6) }}
                else {{ json_decimal('rows.item', 'longAccount') }}
            end as long_account,
            case when answers.endpoint = 'metrics' then 1 else {{ json_decimal('rows.item', 'shortAccount') }} end
                as short_account
        {{ optimization_fence('answers.payload_sha') }}
    ) as numbers
    cross join lateral (
        select coalesce({{ instant_from_text('numbers.label') }}, {{ instant_from_epoch('numbers.stamp') }}) as sampled_at
        {{ optimization_fence('answers.payload_sha') }}
    ) as labels
    where
        answers.endpoint in ('long_short_ratio', 'metrics')
        and answers.status = 'ok'
        and (answers.endpoint <> 'metrics' or coalesce({{ json_text('rows.item', 6) }}, '') <> '')
{%- endmacro %}

{# Forced orders seen on the stream. SELL closes a long. The price is only there to distinguish orders: one without is good. #}
{% macro liquidation_rows() -%}
    select
        answers.symbol,
        answers.asset_class,
        {{ instant_from_epoch('orders.stamp') }} as traded_at,
        orders.side,
        orders.quantity,
        orders.average_price,
        answers.window_start,
        answers.fetched_at,
        answers._dlt_load_id as load_id,
        rows.item as payload_row,
        {{ first_reason({
            'no readable time stamp': instant_from_epoch('orders.stamp') ~ ' is null',
            'a side that is neither BUY nor SELL': "orders.side is null or orders.side not in ('BUY', 'SELL')",
            'no readable quantity': 'orders.quantity is null',
            'a negative quantity': 'orders.quantity < 0',
            'a quantity above 1e18': 'orders.quantity > 1e18',
            'a price of 1e9 or more': 'abs(orders.average_price) > 999999999',
        }) }} as reject_reason
    from {{ source('raw_binance', 'responses') }} as answers
    cross join lateral {{ json_items(json_member('answers.payload', 'events')) }} as rows (item, position)
    cross join lateral (
        select
            {{ json_integer("(" ~ json_member('rows.item', 'o') ~ ")", 'T') }} as stamp,
            {{ json_text("(" ~ json_member('rows.item', 'o') ~ ")", 'S') }} as side,
            {{ json_decimal("(" ~ json_member('rows.item', 'o') ~ ")", 'z') }} as quantity,
            {{ json_decimal("(" ~ json_member('rows.item', 'o') ~ ")", 'ap') }} as average_price
        {{ optimization_fence('answers.payload_sha') }}
    ) as orders
    where answers.endpoint = 'liquidations' and answers.status = 'ok'
{%- endmacro %}
