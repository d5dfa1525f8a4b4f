-- The times in which the stream of forced orders was watched.
select watched_from as start, watched_to as "end"
from intermediate.int_liquidation_coverage
where
    symbol = %(symbol)s
    and asset_class = %(asset_class)s
    and watched_to > %(first)s
    and watched_from < %(last)s
order by watched_from
