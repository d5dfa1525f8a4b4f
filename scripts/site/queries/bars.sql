-- Pieces of one series, each as the text of a JSON object with one array per column, in time order. Prices and volume as
-- they are stored; other doubles have as many digits as extra_float_digits says. A column that says nothing is left out.
-- {{features}}: those of marts.feature_registry.
select
    pieces.starts_at,
    bars.bars,
    bars.first_bar,
    bars.last_bar,
    bars.columns
from unnest(cast(%(starts)s as timestamptz [])) as pieces (starts_at)
cross join lateral (
    select
        count(*) as bars,
        cast(extract(epoch from min(timestamp)) as bigint) as first_bar,
        cast(extract(epoch from max(timestamp)) as bigint) as last_bar,
        cast(json_strip_nulls(json_build_object(
            't', json_agg(cast(extract(epoch from timestamp) as bigint)),
            'open', json_agg(trim_scale(open)),
            'high', json_agg(trim_scale(high)),
            'low', json_agg(trim_scale(low)),
            'close', json_agg(trim_scale(close)),
            'volume', json_agg(trim_scale(volume)),
            'split_factor', case when bool_or(split_factor <> 1) then json_agg(trim_scale(split_factor)) end,
            {features},
            'funding_rate', case when count(funding_rate) > 0 then json_agg(cast(funding_rate as double precision)) end,
            'open_interest', case when count(open_interest) > 0 then json_agg(cast(open_interest as double precision)) end,
            'source', case when min(source) = max(source) then to_json(min(source)) else json_agg(source) end,
            'quality_score', case
                when min(quality_score) = max(quality_score) and count(quality_score) = count(*)
                    then to_json(cast(min(quality_score) as double precision))
                else json_agg(cast(quality_score as double precision))
            end,
            'is_validated', case when not bool_and(is_validated) then json_agg(is_validated) end,
            'notes', case when count(validation_notes) > 0 then json_agg(validation_notes) end,
            'revision', case when max(revision) > 1 then json_agg(revision) end
        )) as text) as columns
    from (
        select *
        from marts.market_data_v2
        where
            symbol = %(symbol)s
            and asset_class = %(asset_class)s
            and timeframe = %(timeframe)s
            and timestamp >= pieces.starts_at
            and timestamp < pieces.starts_at + cast(%(length)s as interval)
        order by timestamp
    ) as piece
) as bars
where bars.bars > 0
