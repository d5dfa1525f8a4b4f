-- The ranges of time in which the liquidation stream was being watched: without them no liquidation is not a zero.
with

answers as (
    select * from {{ source('raw_binance', 'responses') }}
    where endpoint = 'liquidations' and status in ('ok', 'unchanged')
),

watches as (
    select
        symbol,
        asset_class,
        window_start as watched_from,
        window_end as watched_to,
        _dlt_load_id as load_id
    from answers
)

select * from watches
where watched_to > watched_from
