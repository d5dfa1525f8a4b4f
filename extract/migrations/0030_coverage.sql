-- What came and what was asked, as two things: how far each answer reaches (one rule, for extract and dbt alike), and
-- each look at a range. Both are derived from the raw rows: the tables are emptied here, and the next run fills them.
drop table if exists ops.coverage;
create table ops.coverage (
    source text not null,
    endpoint text not null,
    symbol text,
    timeframe text,
    -- For which time what came speaks.
    windows tstzmultirange not null,
    -- Its end when it was last compared with what had been looked at in vain (extract/coverage/state.py).
    came_until timestamptz,
    -- The end of the newest window that was answered, with rows or without.
    asked_until timestamptz,
    asked_at timestamptz,
    unique nulls not distinct (source, endpoint, symbol, timeframe)
);
-- The looks at what was answered without rows, by the hour of the look, after some days by the day (extract/coverage/state.py).
create table if not exists ops.looks (
    source text not null,
    endpoint text not null,
    symbol text,
    timeframe text,
    looked_at timestamptz not null,
    windows tstzmultirange not null,
    -- By so many runs, at first and at last at these instants.
    times integer not null,
    first_at timestamptz not null,
    last_at timestamptz not null,
    unique nulls not distinct (source, endpoint, symbol, timeframe, looked_at)
);
truncate ops.coverage_loads;

-- Until when a good answer speaks for the time from the start of its window on; NULL = for none of it.
-- What is newer than its last row stays open, and so does a window without rows. Of answers that came before the times
-- of rows were noted the window counts. A value may still have moved after the instant it was asked for.
create or replace function ops.covered_to(
    endpoint text, status text, asset_class text, timeframe text, window_start timestamptz, window_end timestamptz,
    requested_at timestamptz, row_count bigint, first_row_at timestamptz, last_row_at timestamptz
) returns timestamptz
language sql stable parallel safe
as $$
select case
    -- A metrics file that is absent a week after its day never comes: nothing else stands in for it.
    when status not in ('ok', 'unchanged') then window_end
    -- Reference data: asked for by the day, whatever the window.
    when
        endpoint not in (
            'bars', 'grouped_daily', 'funding', 'metrics', 'open_interest', 'long_short_ratio', 'taker_ratio',
            'exchange_inflow'
        )
        then least(window_end, requested_at)
    -- The checksum of a file that is loaded: its rows came with another answer.
    when row_count is null and status = 'unchanged' then null
    when row_count = 0 then null
    -- A file of samples is never added to; what it lacks, nobody has.
    when last_row_at is null or endpoint = 'metrics' then least(window_end, requested_at)
    -- A row of each day in local time. Polygon's weeks start on Sunday, Yahoo's running week on any day.
    when endpoint in ('bars', 'grouped_daily') and timeframe = '1d' then least(window_end, requested_at, (
        date_trunc('day', last_row_at at time zone case asset_class when 'crypto' then 'UTC' else 'America/New_York' end)
        + interval '1 day'
    ) at time zone case asset_class when 'crypto' then 'UTC' else 'America/New_York' end)
    when endpoint = 'bars' and timeframe = '1w' then least(window_end, requested_at, (
        date_trunc(
            'week',
            last_row_at at time zone case asset_class when 'crypto' then 'UTC' else 'America/New_York' end + interval '1 day'
        ) + interval '7 days'
    ) at time zone case asset_class when 'crypto' then 'UTC' else 'America/New_York' end)
    when timeframe is not null then least(window_end, requested_at, last_row_at + case timeframe
        when '5m' then interval '5 minutes'
        when '15m' then interval '15 minutes'
        when '30m' then interval '30 minutes'
        when '1h' then interval '1 hour'
        when '4h' then interval '4 hours'
        else interval '24 hours'
    end)
    when endpoint = 'exchange_inflow' then least(window_end, requested_at, last_row_at + interval '24 hours')
    -- Settlements come every 8 hours or more often: as far apart as these are, a minute of jitter included.
    when endpoint = 'funding' then least(window_end, requested_at, last_row_at + interval '1 minute' + case
        when row_count > 1 then (last_row_at - first_row_at) / (row_count - 1)
        else interval '8 hours'
    end)
    else least(window_end, requested_at)
end
$$;
