-- The newest instant at which bars were written, how many were then and how many at another instant, and which table this
-- is: a full refresh, a restored backup or another database makes another one.
select
    newest.updated_at,
    (
        select count(*)
        from marts.market_data_v2 as bars
        where bars.updated_at = newest.updated_at
    ) as bars,
    (
        select count(*)
        from marts.market_data_v2 as bars
        where bars.updated_at = %(since)s
    ) as bars_then,
    current_database() || ' ' || cast(cast(cast('marts.market_data_v2' as regclass) as oid) as text) as relation
from (select max(updated_at) as updated_at from marts.market_data_v2) as newest
