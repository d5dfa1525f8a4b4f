{%- set since = watermark_before_moved_loads('enrichment_fetch_log') -%}
{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        indexes=[
            {'columns': ['symbol', 'asset_class', 'timeframe', 'fetch_timestamp']},
            {'columns': ['source', 'fetch_timestamp']},
        ],
        pre_hook=['{{ delete_since_moved_loads() }}'],
        post_hook=["{{ advance_watermark([ref('int_bar_revisions')]) }}", '{{ analyze_new_table() }}']
    )
}}
-- One row per request to a provider: what was asked, how it went, and what of it was new. Appended load by load.
with

loads as (
    select batch, provider, load_id, registered_at
    from {{ ref('int_loads') }}
    where batch > {{ since }} and batch <= {{ processed_by(['int_bar_revisions']) }}
),

answers as (
    select
        answers.*,
        loads.batch,
        loads.registered_at,
        loads.batch * 1000000 + row_number() over (
            partition by loads.batch
            order by
                answers.requested_at, answers.fetched_at, answers.endpoint, answers.symbol, answers.timeframe,
                answers.window_start, answers.window_end, answers.origin, answers.status
        ) as id
    from {{ ref('stg_ops__answers') }} as answers
    inner join loads on loads.provider = answers.source and loads.load_id = answers.load_id
    where {{ is_new_load('enrichment_fetch_log', 'answers.load_id', since) }}
),

revisions as (
    select series_id, opened_at, source, batch, fetched_at, revision
    from {{ ref('int_bar_revisions') }}
    where batch > {{ since }}
),

-- A revision does not say which answer brought it, only when that arrived: of the answers for a series at one moment
-- (several under WAREHOUSE_NOW) it is the last whose window begins at or before the bar.
events as (
    select
        series.series_id,
        answers.source,
        answers.batch,
        answers.fetched_at,
        answers.window_start as begins_at,
        answers.id as answer_id,
        cast(null as integer) as revision
    from answers
    inner join {{ ref('int_series') }} as series
        on
            series.symbol = answers.symbol
            and series.asset_class = answers.asset_class
            and series.timeframe = answers.timeframe
    where answers.endpoint = 'bars'
    union all
    select series_id, source, batch, fetched_at, opened_at, null, revision
    from revisions
),

numbered as (
    select
        *,
        count(answer_id) over (
            partition by series_id, source, batch, fetched_at
            order by begins_at asc, answer_id asc nulls last
            rows between unbounded preceding and current row
        ) as answers_before
    from events
),

attributed as (
    select
        source,
        batch,
        fetched_at,
        begins_at,
        revision,
        max(answer_id) over (partition by series_id, source, batch, fetched_at, answers_before) as answer_id
    from numbered
),

counted as (
    select
        answer_id,
        count(case when revision = 1 then 1 end) as records_inserted,
        count(case when revision > 1 then 1 end) as records_updated
    from attributed
    where answer_id is not null
    group by answer_id

    union all

    -- The days of a whole-market answer belong to no series' own answer.
    select
        answers.id,
        count(case when attributed.revision = 1 then 1 end),
        count(case when attributed.revision > 1 then 1 end)
    from attributed
    inner join answers
        on
            answers.endpoint = 'grouped_daily'
            and answers.source = attributed.source
            and answers.batch = attributed.batch
            and answers.fetched_at = attributed.fetched_at
            and answers.window_start = attributed.begins_at
    where attributed.answer_id is null
    group by answers.id
),

final as (
    select
        cast(answers.id as bigint) as id,
        cast(answers.symbol as varchar(20)) as symbol,
        cast(answers.asset_class as varchar(10)) as asset_class,
        cast(answers.source as varchar(20)) as source,
        cast(answers.timeframe as varchar(10)) as timeframe,
        cast(coalesce(answers.row_count, 0) as integer) as records_fetched,
        cast(coalesce(counted.records_inserted, 0) as integer) as records_inserted,
        cast(coalesce(counted.records_updated, 0) as integer) as records_updated,
        answers.fetched_at as fetch_timestamp,
        cast(answers.response_ms as integer) as source_response_time_ms,
        answers.status in ('ok', 'unchanged') as success,
        cast(answers.error as text) as error_details,
        cast(answers.quota_remaining as integer) as api_quota_remaining,
        answers.registered_at as created_at,
        cast(answers.endpoint as text) as endpoint,
        cast(answers.origin as text) as origin,
        cast(answers.status as text) as status,
        cast(answers.http_status as integer) as http_status,
        cast(answers.breaker_state as text) as breaker_state,
        cast(answers.run_id as text) as run_id,
        answers.window_start,
        answers.window_end,
        answers.requested_at,
        cast(answers.batch as integer) as batch
    from answers
    left join counted on counted.answer_id = answers.id
)

select * from final
