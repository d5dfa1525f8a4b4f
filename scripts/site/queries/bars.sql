-- The newest bars of one series in time order, one array per column. Doubles hold what is drawn. {{features}}: those of
-- marts.feature_registry.
select cast(json_build_object(
    't', json_agg(cast(extract(epoch from timestamp) as bigint)),
    'open', json_agg(cast(open as double precision)),
    'high', json_agg(cast(high as double precision)),
    'low', json_agg(cast(low as double precision)),
    'close', json_agg(cast(close as double precision)),
    'volume', json_agg(cast(volume as double precision)),
    'split_factor', json_agg(cast(split_factor as double precision)),
    {features},
    'funding_rate', json_agg(cast(funding_rate as double precision)),
    'open_interest', json_agg(cast(open_interest as double precision)),
    'source', json_agg(source),
    'quality_score', json_agg(quality_score),
    'is_validated', json_agg(is_validated),
    'notes', json_agg(validation_notes),
    'revision', json_agg(revision)
) as text)
from (
    select *
    from (
        select *
        from marts.market_data_v2
        where symbol = %(symbol)s and asset_class = %(asset_class)s and timeframe = %(timeframe)s
        order by timestamp desc
        limit %(bars)s
    ) as newest
    order by timestamp
) as bars
