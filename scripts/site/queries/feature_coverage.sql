-- How many bars there are, and how many of them have each feature of marts.feature_registry, {{features}}.
select
    asset_class,
    count(*) as bars,
    {features}
from marts.market_data_v2
group by asset_class
order by asset_class
