-- Splits that prices are adjusted for, newest first.
select
    symbol,
    asset_class,
    cast(extract(epoch from cast(ex_date as timestamp)) as bigint) as ex_date,
    used_value as ratio,
    used_source as source,
    verdict,
    reason
from marts.corporate_actions
where kind = 'split' and is_used
order by ex_date desc, symbol, asset_class
