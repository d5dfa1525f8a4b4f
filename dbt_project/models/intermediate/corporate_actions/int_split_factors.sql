{{ config(post_hook=['{{ analyze() }}']) }}
-- The forward-cumulative split factor per asset and range of sessions: the product of all ratios with ex-date in or
-- before it. It starts at 1, so a later split never changes an earlier bar. Assets without splits have no rows.
with

splits as (
    select * from {{ ref('int_splits') }}
    where split_to <> split_from
),

products as (
    select
        symbol,
        asset_class,
        ex_date,
        -- Shares old and new are multiplied apart, as logarithms, and rounded back to the whole numbers they are.
        round(exp(sum(ln(split_to)) over running), 6) as new_shares,
        round(exp(sum(ln(split_from)) over running), 6) as old_shares
    from splits
    window running as (
        partition by symbol, asset_class order by ex_date rows between unbounded preceding and current row
    )
),

factors as (
    select
        symbol,
        asset_class,
        ex_date as first_session,
        -- Serial diluters come to 3e-15, no asset near these bounds; without them a few absurd splits of one would make a
        -- factor of 0, or one that its type cannot hold, and stop the build of all.
        cast(least(greatest(new_shares / greatest(old_shares, 0.000001), 1e-16), 1e9) as numeric(38, 24)) as split_factor
    from products
),

final as (
    select
        symbol,
        asset_class,
        first_session,
        lead(first_session, 1, date '9999-12-31') over (
            partition by symbol, asset_class order by first_session
        ) as next_first_session,
        split_factor
    from factors
    union all
    select
        symbol,
        asset_class,
        date '0001-01-01',
        min(first_session),
        cast(1 as numeric(38, 24))
    from factors
    group by symbol, asset_class
)

select * from final
