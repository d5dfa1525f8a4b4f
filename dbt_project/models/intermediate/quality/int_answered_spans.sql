{{
    config(
        materialized='table_in_place',
        indexes=[{'columns': ['series_id', 'source', 'span_from'], 'unique': true}],
        post_hook=['{{ analyze() }}']
    )
}}
-- Between which bars a source has answered without a break: where a bar is missing in a span, one and the same source
-- answered with bars on both sides of it. Spans join where answers have a bar in common, or where one ends at the bar
-- before the other begins.
with

answers as (
    select
        series.series_id,
        answers.source,
        answers.first_row_at,
        answers.last_row_at,
        {{ minutes('series.step_minutes') }} as step
    from {{ ref('int_answers') }} as answers
    inner join {{ ref('int_series') }} as series
        on
            series.symbol = answers.symbol
            and series.asset_class = answers.asset_class
            and series.timeframe = answers.timeframe
    where answers.is_answer and answers.last_row_at is not null
),

ordered as (
    select
        *,
        max(last_row_at) over (
            partition by series_id, source
            order by first_row_at, last_row_at
            rows between unbounded preceding and 1 preceding
        ) as reached
    from answers
),

numbered as (
    select
        *,
        sum(case when first_row_at > reached + step then 1 else 0 end) over (
            partition by series_id, source
            order by first_row_at, last_row_at
            rows between unbounded preceding and current row
        ) as span_no
    from ordered
),

final as (
    select
        series_id,
        source,
        min(first_row_at) as span_from,
        max(last_row_at) as span_to
    from numbered
    group by series_id, source, span_no
)

select * from final
