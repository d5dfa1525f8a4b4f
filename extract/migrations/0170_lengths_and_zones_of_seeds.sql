-- How long a bar is and whose midnight starts its day stand in the seeds alone: the rule of 0030 gets both from its callers, which
-- read timeframes.csv and calendars.csv. In it a length that it did not know counted as a day, and each stock's day as New York's.
drop function if exists ops.covered_to(
    text, text, text, text, timestamptz, timestamptz, timestamptz, bigint, timestamptz, timestamptz
);

-- Until when a good answer speaks for the time from the start of its window on; NULL = for none of it.
-- What is newer than its last row stays open, and so does a window without rows. Of answers that came before the times
-- of rows were noted the window counts. A value may still have moved after the instant it was asked for.
create or replace function ops.covered_to(
    endpoint text, status text, step interval, time_zone text, window_start timestamptz, window_end timestamptz,
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
    when endpoint in ('bars', 'grouped_daily') and step = interval '1 day' then least(window_end, requested_at, (
        date_trunc('day', last_row_at at time zone time_zone) + interval '1 day'
    ) at time zone time_zone)
    when endpoint = 'bars' and step = interval '7 days' then least(window_end, requested_at, (
        date_trunc('week', last_row_at at time zone time_zone + interval '1 day') + interval '7 days'
    ) at time zone time_zone)
    -- In seconds: a day added to an instant has 23 to 25 hours in the session's zone.
    when step is not null
        then least(window_end, requested_at, last_row_at + extract(epoch from step) * interval '1 second')
    when endpoint = 'exchange_inflow' then least(window_end, requested_at, last_row_at + interval '24 hours')
    -- Settlements come every 8 hours or more often: as far apart as these are, a minute of jitter included.
    when endpoint = 'funding' then least(window_end, requested_at, last_row_at + interval '1 minute' + case
        when row_count > 1 then (last_row_at - first_row_at) / (row_count - 1)
        else interval '8 hours'
    end)
    else least(window_end, requested_at)
end
$$;
