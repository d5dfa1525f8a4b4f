-- Settlements of a coin up to the last of the bars. All of them: an interval follows from its neighbours.
select settled_at, funding_rate as rate, interval_hours
from intermediate.int_funding_rates
where symbol = %(symbol)s and asset_class = %(asset_class)s and settled_at <= %(last)s
order by settled_at
