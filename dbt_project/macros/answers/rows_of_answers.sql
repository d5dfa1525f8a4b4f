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

{# Condition: a row names another symbol than was asked for; one that names none is not compared. An answer that is about
   something else as a whole is quarantined by extract. #}
{% macro names_another(asked, named) -%}
    {{ named }} <> '' and lower({{ named }}) <> lower({{ asked }})
{%- endmacro %}

{# Condition: a stamp lies outside the window that was asked for. A minute is jitter; a stamp at its very end may be in it. #}
{% macro is_outside_asked(stamp, window_start='answers.window_start', window_end='answers.window_end') -%}
    {{ stamp }} < {{ window_start }} - interval '1 minute' or {{ stamp }} > {{ window_end }} + interval '1 minute'
{%- endmacro %}

{# Splits, one row per event and answer, of a query of events (<provider>_split_events). Real ratios lie between 1:10000 and
   10000:1; beyond, products of a few would leave the type that holds them. #}
{% macro split_rows(events) -%}
    select
        source, symbol, asset_class, ticker, ex_date, split_to, split_from, timeframe, window_start,
        fetched_at, load_id, payload_row,
        {{ first_reason({
            'about another symbol': names_another('asked', 'named'),
            'no readable time zone': 'time_zone is null',
            'no readable date': 'ex_date is null',
            'no readable ratio': 'split_to is null or split_from is null',
            'a ratio that is not positive': 'split_to <= 0 or split_from <= 0',
            'a ratio beyond 10000':
                'least(split_to, split_from) < 0.0001 or greatest(split_to, split_from) > 1000000'
                ~ ' or split_to > 10000 * split_from or split_from > 10000 * split_to',
        }) }} as reject_reason
    from ({{ events }}) as events
{%- endmacro %}

{# Cash dividends, one row per event and answer, of a query of events (<provider>_dividend_events). A provider that adds up
   what is paid on one date has no types of dividends. #}
{% macro dividend_rows(events) -%}
    select
        source, symbol, asset_class, ticker, ex_date, dividend_type, currency, amount, timeframe, window_start, fetched_at,
        load_id, payload_row,
        {{ first_reason({
            'about another symbol': names_another('asked', 'named'),
            'no readable time zone': 'time_zone is null',
            'no readable date': 'ex_date is null',
            'no readable amount': 'amount is null',
            'an amount that is not positive': 'amount <= 0',
            'an amount of 1e6 or more': 'amount >= 1e6',
        }) }} as reject_reason
    from ({{ events }}) as events
{%- endmacro %}

{# Splits and dividends of a provider's answers that cannot be read, with the reason, of its two queries of events. #}
{% macro rejected_event_rows(splits, dividends) -%}
{% for kind, rows in {'split': split_rows(splits), 'dividend': dividend_rows(dividends)}.items() -%}
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
