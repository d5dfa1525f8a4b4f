{%- set since = watermark_before_moved_loads('int_action_observations', reads_all=true) -%}
{%- set reported_value -%}
    coalesce(
            cast(amount as {{ text_type() }}),
            cast(split_to as {{ text_type() }}) || ':' || cast(split_from as {{ text_type() }})
        )
{%- endset -%}
{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        indexes=[{'columns': ['source', 'kind', 'ticker', 'ex_date', 'observation_no'], 'unique': true}],
        pre_hook=['{{ delete_since_moved_loads(reads_all=true) }}'],
        post_hook=["{{ advance_watermark([ref('int_loads')]) }}", '{{ analyze() }}']
    )
}}
-- The log of what each source reported of splits and dividends: one row per ticker and ex-date, and another one each time the
-- source reported something else. An event that a later answer about its days does not report any more is retracted (deleted,
-- or moved to another ex-date): that is an observation too. Rows of one answer that contradict each other on one event have no
-- value: what they say is in `alternatives`. Only the answers of new loads are opened.
with

loads as (
    select batch, provider, load_id
    from {{ ref('int_loads') }}
),

-- Alike rows of one answer are one event.
events as (
    {% for provider in sources('actions') -%}
    select distinct
        source, 'split' as kind, ticker, ex_date, '' as dividend_type, split_to, split_from,
        cast(null as {{ number_type() }}) as amount, cast(null as {{ text_type() }}) as currency, timeframe, window_start,
        fetched_at, load_id
    from {{ ref('stg_' ~ provider ~ '__splits') }}
    where split_to > 0 and split_from > 0 and {{ is_new_load('int_action_observations', 'load_id', since) }}
    union all
    select distinct
        source, 'dividend', ticker, ex_date, dividend_type, cast(null as {{ number_type() }}), cast(null as {{ number_type() }}),
        amount, currency, timeframe, window_start, fetched_at, load_id
    from {{ ref('stg_' ~ provider ~ '__dividends') }}
    where amount > 0 and {{ is_new_load('int_action_observations', 'load_id', since) }}
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

-- What a company pays on one date may be several dividends of different types (a regular and a special one). Of one type
-- there is one amount, and of a split one ratio.
by_type as (
    select
        source,
        kind,
        ticker,
        ex_date,
        load_id,
        fetched_at,
        window_start,
        coalesce(timeframe, '') as timeframe,
        min(split_to) as split_to,
        min(split_from) as split_from,
        min(amount) as amount,
        max(currency) as currency,
        case when count(distinct coalesce(amount, round(split_to / split_from, 12))) > 1 then 1 else 0 end as is_contradictory,
        {{ joined(reported_value, ' ', reported_value, distinct=true) }} as reported_values
    from events
    where ticker is not null and ex_date is not null
    group by
        source, kind, ticker, ex_date, dividend_type, load_id, fetched_at, window_start, coalesce(timeframe, '')
),

reported as (
    select
        by_type.source,
        by_type.kind,
        by_type.ticker,
        by_type.ex_date,
        loads.batch,
        by_type.fetched_at,
        by_type.window_start,
        by_type.timeframe,
        case when max(by_type.is_contradictory) = 0 then max(by_type.split_to) end as split_to,
        case when max(by_type.is_contradictory) = 0 then max(by_type.split_from) end as split_from,
        case when max(by_type.is_contradictory) = 0 then sum(by_type.amount) end as amount,
        max(by_type.currency) as currency,
        case
            when max(by_type.is_contradictory) = 1 then {{ joined('by_type.reported_values', ' ', 'by_type.reported_values') }}
        end as alternatives
    from by_type
    inner join loads on loads.provider = by_type.source and loads.load_id = by_type.load_id
    group by
        by_type.source, by_type.kind, by_type.ticker, by_type.ex_date, loads.batch, by_type.fetched_at,
        by_type.window_start, by_type.timeframe
),

answers as (
    {% for provider in sources('actions') -%}
    select
        answers.source, answers.kind, answers.ticker, answers.reported_after, answers.reported_before,
        coalesce(answers.timeframe, '') as timeframe, answers.window_start, answers.fetched_at, loads.batch
    from {{ ref('stg_' ~ provider ~ '__action_answers') }} as answers
    inner join loads on loads.provider = answers.source and loads.load_id = answers.load_id -- noqa: AL04
    where {{ is_new_load('int_action_observations', 'answers.load_id', since) }}
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

known_keys as (
    select source, kind, ticker, ex_date
    from reported
    {% if is_incremental() -%}
    union
    select source, kind, ticker, ex_date
    from {{ this }}
    {%- else -%}
    group by source, kind, ticker, ex_date
    {%- endif %}
),

-- What an answer should have reported, and did not.
retracted as (
    select distinct
        known_keys.source,
        known_keys.kind,
        known_keys.ticker,
        known_keys.ex_date,
        answers.batch,
        answers.fetched_at,
        answers.window_start,
        answers.timeframe
    from answers
    inner join known_keys
        on
            known_keys.source = answers.source
            and known_keys.kind = answers.kind
            and known_keys.ticker = coalesce(answers.ticker, known_keys.ticker)
            and known_keys.ex_date > answers.reported_after
            and known_keys.ex_date < answers.reported_before
    left join reported
        on
            reported.source = known_keys.source
            and reported.kind = known_keys.kind
            and reported.ticker = known_keys.ticker
            and reported.ex_date = known_keys.ex_date
            and reported.batch = answers.batch
            and reported.fetched_at = answers.fetched_at
            and reported.timeframe = answers.timeframe
            and reported.window_start is not distinct from answers.window_start
    where reported.source is null
),

observations as (
    select
        source, kind, ticker, ex_date, batch, fetched_at, window_start, timeframe, false as is_retracted,
        split_to, split_from, amount, currency, alternatives, cast(null as integer) as known_observation_no
    from reported
    union all
    select
        source, kind, ticker, ex_date, batch, fetched_at, window_start, timeframe, true,
        null, null, null, null, null, null
    from retracted
    {% if is_incremental() -%}
    union all
    -- The latest observation of each is what the first new one is compared with.
    select
        known.source, known.kind, known.ticker, known.ex_date, known.batch, known.fetched_at, known.window_start,
        known.timeframe, known.is_retracted, known.split_to, known.split_from, known.amount, known.currency,
        known.alternatives, known.observation_no
    from {{ this }} as known
    where
        not exists (
            select 1
            from {{ this }} as newer
            where
                newer.source = known.source
                and newer.kind = known.kind
                and newer.ticker = known.ticker
                and newer.ex_date = known.ex_date
                and newer.observation_no = known.observation_no + 1
        )
    {%- endif %}
),

compared as (
    select
        *,
        max(known_observation_no) over event as observations_before,
        lag(is_retracted) over in_order is null as is_first,
        not ( -- noqa: LT01, LT06
            lag(is_retracted) over in_order is not distinct from is_retracted
            and lag(split_to) over in_order is not distinct from split_to
            and lag(split_from) over in_order is not distinct from split_from
            and lag(amount) over in_order is not distinct from amount
            and lag(currency) over in_order is not distinct from currency
            and lag(alternatives) over in_order is not distinct from alternatives
        ) as differs_from_previous
    from observations
    window
        event as (partition by source, kind, ticker, ex_date),
        in_order as (
            partition by source, kind, ticker, ex_date
            order by batch, fetched_at, window_start nulls first, timeframe
        )
),

final as (
    select
        source,
        kind,
        ticker,
        ex_date,
        cast(
            coalesce(observations_before, 0) + row_number() over (
                partition by source, kind, ticker, ex_date
                order by batch, fetched_at, window_start nulls first, timeframe
            ) as integer
        ) as observation_no,
        cast(batch as integer) as batch,
        fetched_at,
        window_start,
        timeframe,
        is_retracted,
        split_to,
        split_from,
        amount,
        currency,
        alternatives
    from compared
    -- Nobody retracts what was never reported.
    where known_observation_no is null and case when is_first then not is_retracted else differs_from_previous end
)

select * from final
