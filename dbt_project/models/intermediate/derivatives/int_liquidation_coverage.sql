{{ config(post_hook=['{{ analyze() }}']) }}
-- The unbroken ranges in which the liquidation stream was watched: watches that touch or overlap are one.
with

watches as (
    select
        watches.symbol,
        watches.asset_class,
        watches.watched_from,
        watches.watched_to,
        loads.batch
    from ({{ staged('derivatives', 'liquidation_watches') }}) as watches
    inner join {{ ref('int_loads') }} as loads on loads.provider = watches.source and loads.load_id = watches.load_id
),

ordered as (
    select
        *,
        max(watched_to) over (
            partition by symbol, asset_class
            order by watched_from, watched_to
            rows between unbounded preceding and 1 preceding
        ) as covered_until
    from watches
),

numbered as (
    select
        *,
        sum(case when watched_from > covered_until then 1 else 0 end) over (
            partition by symbol, asset_class
            order by watched_from, watched_to
            rows between unbounded preceding and current row
        ) as range_no
    from ordered
),

final as (
    select
        symbol,
        asset_class,
        min(watched_from) as watched_from,
        max(watched_to) as watched_to
    from numbered
    group by symbol, asset_class, range_no
)

select * from final
