{{ config(post_hook=['{{ analyze() }}']) }}
-- One row per asset, UTC day and version of its inflow. A day is published during the next one; for a day that was
-- loaded later (a backfill) the end of the next day is taken for its time of publication, so that no bar knows it early.
with

inflows as (
    select
        inflows.symbol,
        inflows.asset_class,
        inflows.day,
        cast(inflows.exchange_inflow as numeric(28, 8)) as exchange_inflow,
        inflows.fetched_at,
        loads.batch
    from ({{ staged('exchange_inflow', 'exchange_inflows') }}) as inflows
    inner join {{ ref('int_loads') }} as loads
        on loads.provider = inflows.source and loads.load_id = inflows.load_id
),

compared as (
    select
        *,
        lag(exchange_inflow) over in_order as previous_inflow,
        row_number() over in_order as number
    from inflows
    window in_order as (partition by symbol, asset_class, day order by batch, fetched_at, exchange_inflow)
),

versions as (
    select
        symbol,
        asset_class,
        day,
        exchange_inflow,
        number,
        batch as changed_in_batch,
        -- Whatever an answer says of a running day, it is not known before the day has ended.
        greatest(
            {{ local_instant('day + 1', "'00:00'", "'UTC'") }},
            case when number = 1 then least(fetched_at, {{ local_instant('day + 2', "'00:00'", "'UTC'") }}) else fetched_at end
        ) as published_at
    from compared
    where number = 1 or previous_inflow <> exchange_inflow
),

succeeded as (
    select
        *,
        lead(published_at, 1, {{ instant('9999-12-31 00:00:00+00') }}) over (
            partition by symbol, asset_class, day order by published_at, number
        ) as superseded_at
    from versions
),

final as (
    select
        symbol,
        asset_class,
        day,
        exchange_inflow,
        changed_in_batch,
        published_at,
        superseded_at
    from succeeded
    -- A version that was amended before the day had ended was never the known one.
    where superseded_at > published_at
)

select * from final
