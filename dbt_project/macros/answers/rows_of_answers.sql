{#-
  The rows of answers that are no bars, every one, with what it lacks as `reject_reason` (NULL: nothing). Staging models
  take those without a reason, marts.rejected_rows the others: no row is dropped in silence. Two rows of one answer on the
  same moment are both good rows: equal ones count once, of unequal ones the readers take the same one in every build.
  Each macro is a query, and whatever filters it reaches the raw table: a payload that is not wanted is not opened.
-#}

{# SQL: the reason of the first condition that holds, NULL if none does. #}
{% macro first_reason(conditions) -%}
    case
        {%- for reason, condition in conditions.items() %}
        when {{ condition }} then '{{ reason }}'
        {%- endfor %}
    end
{%- endmacro %}

{# Splits, one row per event and answer. Real ratios lie between 1:10000 and 10000:1; beyond, products of a few would leave
   the type that holds them. #}
{% macro split_rows(provider) -%}
    {%- set events, new, old = (
        polygon_events('splits', 'execution_date', ['split_to', 'split_from']), 'split_to', 'split_from'
    ) if provider == 'polygon' else (yahoo_events('splits', ['numerator', 'denominator']), 'numerator', 'denominator') -%}
    select
        source, symbol, asset_class, ticker, ex_date, {{ new }} as split_to, {{ old }} as split_from, timeframe, window_start,
        fetched_at, load_id, payload_row,
        {{ first_reason({
            'no readable time zone': 'time_zone is null',
            'no readable date': 'ex_date is null',
            'no readable ratio': new ~ ' is null or ' ~ old ~ ' is null',
            'a ratio that is not positive': new ~ ' <= 0 or ' ~ old ~ ' <= 0',
            'a ratio beyond 10000':
                'least(' ~ new ~ ', ' ~ old ~ ') < 0.0001 or greatest(' ~ new ~ ', ' ~ old ~ ') > 1000000'
                ~ ' or ' ~ new ~ ' > 10000 * ' ~ old ~ ' or ' ~ old ~ ' > 10000 * ' ~ new,
        }) }} as reject_reason
    from ({{ events }}) as events
{%- endmacro %}

{# Cash dividends, one row per event and answer. Yahoo adds up what is paid on one date, so its have no type. #}
{% macro dividend_rows(provider) -%}
    {%- set events, amount = (
        polygon_events('dividends', 'ex_dividend_date', ['cash_amount']), 'cash_amount'
    ) if provider == 'polygon' else (yahoo_events('dividends', ['amount']), 'amount') -%}
    select
        source, symbol, asset_class, ticker, ex_date,
        {% if provider == 'polygon' -%}
        concat_ws(' ', {{ json_text('payload_row', 'dividend_type') }}, {{ json_text('payload_row', 'frequency') }})
            as dividend_type,
        {{ json_text('payload_row', 'currency') }} as currency,
        {%- else -%}
        '' as dividend_type,
        currency,
        {%- endif %}
        {{ amount }} as amount, timeframe, window_start, fetched_at, load_id, payload_row,
        {{ first_reason({
            'no readable time zone': 'time_zone is null',
            'no readable date': 'ex_date is null',
            'no readable amount': amount ~ ' is null',
            'an amount that is not positive': amount ~ ' <= 0',
            'an amount of 1e6 or more': amount ~ ' >= 1e6',
        }) }} as reject_reason
    from ({{ events }}) as events
{%- endmacro %}

{# Events have an endpoint of their own; the ticker is the one that was asked for or, in an answer about the whole market,
   the row's own. `numbers` are the members to read. #}
{% macro polygon_events(endpoint, ex_date, numbers) -%}
    select
        'polygon' as source,
        answers.symbol,
        answers.asset_class,
        coalesce(answers.provider_symbol, answers.symbol, {{ json_text('rows.item', 'ticker') }}) as ticker,
        'UTC' as time_zone,
        events.ex_date,
        {%- for number in numbers %}
        events.{{ number }},
        {%- endfor %}
        cast(null as text) as timeframe,
        answers.window_start,
        answers.fetched_at,
        answers._dlt_load_id as load_id,
        rows.item as payload_row,
        rows.position
    from {{ source('raw_polygon', 'responses') }} as answers
    cross join lateral {{ json_items(json_member('answers.payload', 'results')) }} as rows (item, position)
    cross join lateral (
        select
            {%- for number in numbers %}
            {{ json_decimal('rows.item', number) }} as {{ number }},
            {%- endfor %}
            {{ date_from_text(json_text('rows.item', ex_date)) }} as ex_date
        {{ optimization_fence('answers.payload_sha') }}
    ) as events
    where answers.endpoint = '{{ endpoint }}' and answers.status = 'ok'
{%- endmacro %}

{# Events are reported in charts, next to the bars or (endpoint `events`) asked for alone; `kind` is the chart's name for them,
   `numbers` are the members to read. #}
{% macro yahoo_events(kind, numbers) -%}
    select
        'yahoo' as source,
        answers.symbol,
        answers.asset_class,
        coalesce(answers.provider_symbol, answers.symbol) as ticker,
        charts.time_zone,
        {{ date_of_yahoo(instant_from_epoch('events.stamp'), 'charts.time_zone') }} as ex_date,
        charts.currency,
        {%- for number in numbers %}
        events.{{ number }},
        {%- endfor %}
        answers.timeframe,
        answers.window_start,
        answers.fetched_at,
        answers._dlt_load_id as load_id,
        rows.item as payload_row
    from {{ source('raw_yahoo', 'responses') }} as answers
    cross join lateral (
        select
            {{ known_time_zone(json_text(json_member('answers.payload', 'chart.result.0.meta'), 'exchangeTimezoneName')) }}
                as time_zone,
            {{ json_text(json_member('answers.payload', 'chart.result.0.meta'), 'currency') }} as currency,
            {{ json_member('answers.payload', 'chart.result.0.events.' ~ kind) }} as events
        {{ optimization_fence() }}
    ) as charts
    cross join lateral {{ json_values('charts.events') }} as rows (item)
    cross join lateral (
        select
            {%- for number in numbers %}
            {{ json_decimal('rows.item', number) }} as {{ number }},
            {%- endfor %}
            {{ json_integer('rows.item', 'date') }} as stamp
        {{ optimization_fence('answers.payload_sha') }}
    ) as events
    where answers.endpoint in ('bars', 'events') and answers.status = 'ok'
{%- endmacro %}

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
            'no readable time stamp': 'settled_at is null',
            'no readable rate': 'funding_rate is null',
            'a rate of 100 or more': 'abs(funding_rate) >= 100',
        }) }} as reject_reason
    from (
        select
            answers.symbol,
            answers.asset_class,
            {{ instant_from_epoch('numbers.settled_ms / 1000') }} as settled_at,
            numbers.funding_rate,
            numbers.interval_hours,
            answers.origin,
            answers.window_start,
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
                case when answers.origin = 'archive' then {{ json_decimal('rows.item', 1) }} end as interval_hours
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
            'no readable time stamp': 'labels.sampled_at is null',
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
            'no readable time stamp': 'labels.sampled_at is null',
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

{# Native units that flowed to exchanges, by UTC day. A day whose flow is not there yet has no such member, or null: it is
   no row to reject. #}
{% macro inflow_rows() -%}
    select
        answers.symbol,
        answers.asset_class,
        numbers.day,
        numbers.exchange_inflow,
        answers.window_start,
        answers.fetched_at,
        answers._dlt_load_id as load_id,
        rows.item as payload_row,
        {{ first_reason({
            'no readable date': 'numbers.day is null',
            'no readable inflow': 'numbers.exchange_inflow is null',
            'a negative inflow': 'numbers.exchange_inflow < 0',
            'an inflow above 1e18': 'numbers.exchange_inflow > 1e18',
        }) }} as reject_reason
    from {{ source('raw_coinmetrics', 'responses') }} as answers
    cross join lateral {{ json_items(json_member('answers.payload', 'data')) }} as rows (item, position)
    cross join lateral (
        select
            {{ date_from_text('substr(' ~ json_text('rows.item', 'time') ~ ', 1, 10)') }} as day,
            {{ json_decimal('rows.item', 'FlowInExNtv') }} as exchange_inflow
        {{ optimization_fence('answers.payload_sha') }}
    ) as numbers
    where
        answers.endpoint = 'exchange_inflow'
        and answers.status = 'ok'
        and ({{ json_text('rows.item', 'time') }} is null or {{ json_text('rows.item', 'FlowInExNtv') }} is not null)
{%- endmacro %}

{# Splits and dividends of a provider's answers that cannot be read, with the reason. #}
{% macro rejected_event_rows(provider) -%}
{% for kind, rows in {'split': split_rows(provider), 'dividend': dividend_rows(provider)}.items() -%}
select
    source,
    '{{ kind }}' as kind,
    symbol,
    asset_class,
    ticker,
    timeframe,
    {{ local_instant('ex_date', "'00:00'", "'UTC'") }} as timestamp,
    reject_reason,
    payload_row,
    window_start,
    fetched_at,
    load_id
from ({{ rows }}) as {{ kind }}_rows
where reject_reason is not null
{% if not loop.last %}union all{% endif %}
{% endfor %}
{%- endmacro %}

{# The date that an instant of Yahoo's stands for in the exchange's zone. 00:00 UTC is a date by itself, whatever the zone:
   no exchange is open then whose clock shows another one, and in New York it would be the day before. #}
{% macro date_of_yahoo(instant, time_zone) -%}
    case
        when mod({{ epoch_seconds(instant) }}, 86400) = 0 then {{ local_date(instant, "'UTC'") }}
        else {{ local_date(instant, time_zone) }}
    end
{%- endmacro %}
