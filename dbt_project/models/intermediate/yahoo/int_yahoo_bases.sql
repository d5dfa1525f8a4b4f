{#- Yahoo has been seen to adjust the evening before: on a Friday for a Tuesday after a holiday. -#}
{%- set early_days = 4 -%}
{%- set values = ['next_first_session', 'adjustment', 'is_adjusted_next', 'basis_problem', 'unclear_ex_date'] -%}
{{
    config(
        materialized='incremental',
        unique_key=['series_id', 'batch', 'fetched_at', 'first_session'],
        incremental_strategy='merge',
        indexes=[{'columns': ['series_id', 'batch', 'fetched_at', 'first_session'], 'unique': true}],
        post_hook=['{{ analyze() }}']
    )
}}
-- What the prices of a Yahoo answer are multiplied by to be as traded, per answer and range of sessions; an answer that no
-- split concerns has no row. Yahoo divides what lies before a split by its ratio: the evening before the ex-date, on it,
-- days later, or (intraday) never. So each answer is classified for itself and for each split, by what it shows:
--   1. a bar of it whose as-traded price is known (of a source that gives them, or Yahoo's own from days before the split):
--      the same price is as traded, one that is off by the ratio is adjusted;
--   2. the jump from its last bar before the split to its first one after it; a jump by the ratio on a day nearby
--      contradicts the ex-date;
--   3. a day or week asked for a week after the ex-date counts as adjusted, unless the jump speaks against it: Yahoo has
--      never been seen to take that long;
--   4. another answer that is decided and holds the same session: the same close is the same basis;
--   5. an adjusted answer makes later ones of its series adjusted, one as traded makes earlier ones as traded.
-- What is still undecided is left out, as is an answer about old bars while the splits between them and the day of asking
-- are unknown, and one that moved known bars by one factor while nobody reports a split: int_bar_observations makes failed checks
-- of them.
with

series as (
    select series_id, symbol, asset_class, timeframe, step_minutes, time_zone, active_to
    from {{ ref('int_series') }}
    where asset_class <> 'crypto'
),

splits as (
    select
        series.series_id,
        series.symbol,
        series.asset_class,
        series.timeframe,
        series.step_minutes,
        series.time_zone,
        splits.ex_date,
        splits.split_to,
        splits.split_from,
        ln(splits.split_to / splits.split_from) as log_ratio,
        {{ local_instant('splits.ex_date', "'00:00'", 'series.time_zone') }} as split_at,
        -- Bars that begin before this end before the split.
        {{ local_instant(
            '(splits.ex_date - case when series.step_minutes = 10080 then 6 else 0 end)', "'00:00'", 'series.time_zone'
        ) }} as whole_until
    from {{ ref('int_splits') }} as splits
    inner join series on series.symbol = splits.symbol and series.asset_class = splits.asset_class
    where splits.split_to <> splits.split_from
),

-- The answers with a bar before a split, asked when Yahoo could have known of it.
concerned as (
    {% for are_old in ['true', 'false'] -%}
    select
        splits.*,
        answers.batch,
        answers.fetched_at,
        answers.first_row_at,
        answers.last_row_at
    from splits
    inner join {{ ref('int_basis_answers') }} as answers
        on
            answers.is_of_old_bars = {{ are_old }}
            and answers.symbol = splits.symbol
            and answers.asset_class = splits.asset_class
            and answers.timeframe = splits.timeframe
            and answers.first_row_at < splits.split_at
            {%- if are_old == 'false' %}
            and answers.first_row_at >= splits.split_at - interval '15 days'
            {%- endif %}
            and answers.fetched_at >= splits.split_at - interval '{{ early_days }} days'
    where answers.endpoint = 'bars' and answers.status = 'ok'
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

pairs as (
    select
        series_id,
        symbol,
        asset_class,
        timeframe,
        step_minutes,
        time_zone,
        ex_date,
        split_to,
        split_from,
        log_ratio,
        split_at,
        whole_until,
        batch,
        fetched_at,
        -- By whole sessions.
        {{ local_instant(local_date('min(first_row_at)', 'time_zone'), "'00:00'", 'time_zone') }} as starts_at,
        {{ local_instant('(' ~ local_date('max(last_row_at)', 'time_zone') ~ ' + 1)', "'00:00'", 'time_zone') }} as ends_at
    from concerned
    group by
        series_id, symbol, asset_class, timeframe, step_minutes, time_zone, ex_date, split_to, split_from, log_ratio,
        split_at, whole_until, batch, fetched_at
),

spanned as (
    select
        *,
        least(whole_until, ends_at) as before_until,
        coalesce(sum(log_ratio) over (
            partition by series_id, batch, fetched_at
            order by ex_date
            rows between 1 following and unbounded following
        ), 0) as later_log_ratio,
        -- Whose jumps may be taken for this one's.
        case
            when
                lag(ex_date) over (partition by series_id, batch, fetched_at order by ex_date) >= ex_date - 10
                or lead(ex_date) over (partition by series_id, batch, fetched_at order by ex_date) <= ex_date + 10
                then 1
            else 0
        end as has_split_nearby
    from pairs
),

-- A bar as an answer has it: the newest revision up to it.
seen as (
    select
        spanned.*,
        before_bar.close as close_before,
        after_bar.open as open_after,
        after_bar.opened_at - before_bar.opened_at as between_them,
        known_bar.log_off,
        coalesce(other_jump.is_there, 0) as jumps_on_another_day
    from spanned
    left join lateral (
        select
            bars.opened_at,
            bars.close
        from {{ ref('int_bar_revisions') }} as bars
        where
            bars.series_id = spanned.series_id
            and bars.source = 'yahoo'
            and bars.opened_at >= spanned.starts_at
            and bars.opened_at < spanned.before_until
            and bars.close > 0
            and {{ was_observed_by('bars', 'spanned') }}
        order by bars.opened_at desc, bars.revision desc
        limit 1
    ) as before_bar on true
    left join lateral (
        select
            bars.opened_at,
            bars.open
        from {{ ref('int_bar_revisions') }} as bars
        where
            bars.series_id = spanned.series_id
            and bars.source = 'yahoo'
            and bars.opened_at >= spanned.split_at
            and bars.opened_at < spanned.ends_at
            and bars.open > 0
            and bars.open < 1000000000
            and {{ was_observed_by('bars', 'spanned') }}
        order by bars.opened_at asc, bars.revision desc
        limit 1
    ) as after_bar on true
    left join lateral (
        -- Of the newest few the middle one: one of them may be a bad print.
        select percentile_disc(0.5) within group (order by newest.log_off) as log_off
        from (
            select ln(known.close / own.close) as log_off
            from {{ ref('int_bar_revisions') }} as known
            inner join lateral (
                select bars.close
                from {{ ref('int_bar_revisions') }} as bars
                where
                    bars.series_id = known.series_id
                    and bars.opened_at = known.opened_at
                    and bars.source = 'yahoo'
                    and bars.close > 0
                    and {{ was_observed_by('bars', 'spanned') }}
                order by bars.revision desc
                limit 1
            ) as own on true
            where
                known.series_id = spanned.series_id
                and known.opened_at >= greatest(spanned.starts_at, spanned.before_until - interval '20 days')
                and known.opened_at < spanned.before_until
                and known.close > 0
                and (
                    {{ is_as_traded_source('known.source') }}
                    or (
                        known.source = 'yahoo'
                        and known.fetched_at < spanned.split_at - interval '{{ early_days }} days'
                    )
                )
            order by known.opened_at desc, known.source asc, known.revision desc
            limit 5
        ) as newest
    ) as known_bar on true
    left join lateral (
        -- Days of the answer that move by the split's ratio, but not over its ex-date: that is reported for a wrong day.
        select 1 as is_there
        from (
            select
                newest.opened_at,
                newest.opened_at_before,
                ln(newest.close_before / newest.open) as log_jump
            from (
                select
                    bars.opened_at,
                    bars.open,
                    lag(bars.close) over (order by bars.opened_at) as close_before,
                    lag(bars.opened_at) over (order by bars.opened_at) as opened_at_before
                from {{ ref('int_bar_revisions') }} as bars
                where
                    spanned.step_minutes = 1440
                    and abs(spanned.log_ratio) > 0.4
                    and bars.series_id = spanned.series_id
                    and bars.source = 'yahoo'
                    and bars.opened_at >= greatest(spanned.starts_at, spanned.split_at - interval '8 days')
                    and bars.opened_at < least(spanned.ends_at, spanned.split_at + interval '8 days')
                    and bars.open > 0
                    and bars.close > 0
                    and {{ was_observed_by('bars', 'spanned') }}
                    and not exists (
                        select 1
                        from {{ ref('int_bar_revisions') }} as later
                        where
                            later.series_id = bars.series_id
                            and later.opened_at = bars.opened_at
                            and later.source = bars.source
                            and later.revision > bars.revision
                            and {{ was_observed_by('later', 'spanned') }}
                    )
            ) as newest
        ) as moves
        where
            abs(moves.log_jump - spanned.log_ratio) < 0.2 * abs(spanned.log_ratio)
            -- Not over the ex-date.
            and (moves.opened_at < spanned.split_at or moves.opened_at_before >= spanned.split_at)
        order by moves.opened_at
        limit 1
    ) as other_jump on true
),

measured as (
    select
        *,
        least(0.02, 0.3 * abs(log_ratio)) as tolerance,
        -- How far off the known price is from what it is as traded, and from what it is adjusted; later splits may be in it.
        least(abs(log_off), abs(log_off - later_log_ratio)) as known_off_traded,
        least(abs(log_off - log_ratio), abs(log_off - log_ratio - later_log_ratio)) as known_off_adjusted,
        -- The move over the ex-date, if the prices before it are adjusted, and if they are as traded.
        abs(ln(close_before / open_after)) as move_if_adjusted,
        abs(ln(close_before / open_after) - log_ratio) as move_if_traded,
        -- A move that a share does not make, by how long it has had for it.
        case
            when between_them <= interval '8 days' then 0.3
            when between_them <= interval '35 days' then 0.6
        end as unlikely_move
    from seen
),

first_classified as (
    select
        *,
        case
            when known_off_traded <= tolerance and known_off_adjusted > 2 * tolerance then 'traded'
            when known_off_adjusted <= tolerance and known_off_traded > 2 * tolerance then 'adjusted'
            -- It is neither: the ratio is wrong, or the prices are.
            when least(known_off_traded, known_off_adjusted) > 0.15 then 'contradicted'
            -- Days that are adjusted have no such jump, unless it is another split's.
            when jumps_on_another_day = 1 and move_if_adjusted < move_if_traded and has_split_nearby = 0 then 'contradicted'
            when move_if_adjusted <= 0.5 * move_if_traded and move_if_traded >= unlikely_move then 'adjusted'
            when move_if_traded <= 0.5 * move_if_adjusted and move_if_adjusted >= unlikely_move then 'traded'
            when
                step_minutes >= 1440
                and fetched_at >= split_at + interval '7 days'
                and coalesce(move_if_adjusted <= move_if_traded, true)
                then 'adjusted'
        end as verdict
    from measured
),

decided as (
    select * from first_classified
    where verdict in ('traded', 'adjusted')
),

compared as (
    select
        first_classified.*,
        witness.verdict as witness_verdict,
        ln(witness_bar.close / own_bar.close) as witness_log_off
    from first_classified
    left join lateral (
        select
            decided.*,
            least(decided.before_until, first_classified.before_until) as common_until,
            greatest(decided.starts_at, first_classified.starts_at) as common_from
        from decided
        where
            decided.symbol = first_classified.symbol
            and decided.asset_class = first_classified.asset_class
            and decided.ex_date = first_classified.ex_date
            and (
                decided.series_id = first_classified.series_id
                or (decided.step_minutes = 1440 and first_classified.step_minutes < 1440)
            )
            and greatest(decided.starts_at, first_classified.starts_at)
            < least(decided.before_until, first_classified.before_until)
        order by
            case when decided.series_id = first_classified.series_id then 0 else 1 end,
            abs({{ epoch_seconds('decided.fetched_at') }} - {{ epoch_seconds('first_classified.fetched_at') }}),
            decided.batch,
            decided.fetched_at
        limit 1
    ) as witness on first_classified.verdict is null
    left join lateral (
        select
            {{ local_date('bars.opened_at', 'first_classified.time_zone') }} as session_date,
            bars.close
        from {{ ref('int_bar_revisions') }} as bars
        where
            bars.series_id = first_classified.series_id
            and bars.source = 'yahoo'
            and bars.opened_at >= witness.common_from
            and bars.opened_at < witness.common_until
            and bars.close > 0
            and {{ was_observed_by('bars', 'first_classified') }}
        order by bars.opened_at desc, bars.revision desc
        limit 1
    ) as own_bar on true
    left join lateral (
        select
            {{ local_date('bars.opened_at', 'first_classified.time_zone') }} as session_date,
            bars.close
        from {{ ref('int_bar_revisions') }} as bars
        where
            bars.series_id = witness.series_id
            and bars.source = 'yahoo'
            and bars.opened_at >= witness.common_from
            and bars.opened_at < witness.common_until
            and bars.close > 0
            and {{ was_observed_by('bars', 'witness') }}
        order by bars.opened_at desc, bars.revision desc
        limit 1
    ) as witness_bar on witness_bar.session_date = own_bar.session_date
),

second_classified as (
    select
        *,
        case
            when verdict is not null then verdict
            when abs(witness_log_off) <= tolerance then witness_verdict
            when witness_verdict = 'traded' and abs(witness_log_off - log_ratio) <= tolerance then 'adjusted'
            when witness_verdict = 'adjusted' and abs(witness_log_off + log_ratio) <= tolerance then 'traded'
        end as compared_verdict
    from compared
),

turns as (
    select
        series_id,
        ex_date,
        min(case when compared_verdict = 'adjusted' then fetched_at end) as adjusted_from,
        max(case when compared_verdict = 'traded' then fetched_at end) as traded_until
    from second_classified
    group by series_id, ex_date
),

classified as (
    select
        second_classified.series_id,
        second_classified.batch,
        second_classified.fetched_at,
        second_classified.ex_date,
        second_classified.split_to,
        second_classified.split_from,
        case
            when second_classified.compared_verdict is not null then second_classified.compared_verdict
            when second_classified.fetched_at >= turns.adjusted_from then 'adjusted'
            when second_classified.fetched_at <= turns.traded_until then 'traded'
        end as verdict
    from second_classified
    inner join turns on turns.series_id = second_classified.series_id and turns.ex_date = second_classified.ex_date
),

-- The days for whose splits somebody was asked, as ranges that do not overlap.
questions as (
    select
        symbol,
        asset_class,
        window_start,
        window_end
    from {{ ref('int_basis_answers') }}
    where symbol is not null and window_start < window_end and (endpoint <> 'bars' or timeframe = {{ day_timeframe() }})

    union all

    select
        series.symbol,
        series.asset_class,
        answers.window_start,
        answers.window_end
    from {{ ref('int_basis_answers') }} as answers
    inner join (
        select distinct
            source,
            symbol,
            asset_class
        from {{ ref('int_provider_symbols') }}
        where used_for = 'bars'
    ) as series on series.source = answers.source
    where answers.symbol is null and answers.window_start < answers.window_end
),

late_answers as (
    select
        series.series_id,
        series.symbol,
        series.asset_class,
        series.timeframe,
        answers.batch,
        answers.fetched_at,
        max(answers.window_end) as window_end,
        -- A share that left the exchange splits no more.
        least(answers.fetched_at, {{ local_instant('max(series.active_to)', "'24:00'", "'UTC'") }}) as adjusted_until
    from {{ ref('int_basis_answers') }} as answers
    inner join series
        on
            series.symbol = answers.symbol
            and series.asset_class = answers.asset_class
            and series.timeframe = answers.timeframe
    where answers.is_late and answers.endpoint = 'bars' and answers.status = 'ok'
    group by series.series_id, series.symbol, series.asset_class, series.timeframe, answers.batch, answers.fetched_at
),

numbered_questions as (
    select
        *,
        case
            when window_start <= max(window_end) over (
                partition by symbol, asset_class
                order by window_start, window_end
                rows between unbounded preceding and 1 preceding
            ) + interval '4 days' then 0
            else 1
        end as starts_range
    from questions
    where (symbol, asset_class) in (select late_answers.symbol, late_answers.asset_class from late_answers)
),

ranged_questions as (
    select
        *,
        sum(starts_range) over (
            partition by symbol, asset_class
            order by window_start, window_end
            rows between unbounded preceding and current row
        ) as range_no
    from numbered_questions
),

asked_ranges as (
    select
        symbol,
        asset_class,
        min(window_start) as asked_from,
        max(window_end) as asked_to
    from ranged_questions
    group by symbol, asset_class, range_no
),

unknown_answers as (
    select
        late_answers.series_id,
        late_answers.batch,
        late_answers.fetched_at
    from late_answers
    left join asked_ranges
        on
            asked_ranges.symbol = late_answers.symbol
            and asked_ranges.asset_class = late_answers.asset_class
            and asked_ranges.asked_from <= late_answers.window_end + interval '4 days'
            and asked_ranges.asked_to >= late_answers.adjusted_until
            - case late_answers.timeframe when {{ week_timeframe() }} then interval '1 day' else interval '4 days' end
    where asked_ranges.symbol is null and late_answers.window_end < late_answers.adjusted_until

    union

    -- Divided for a split that nobody has reported yet.
    select
        rebases.series_id,
        rebases.batch,
        rebases.fetched_at
    from {{ ref('int_yahoo_rebases') }} as rebases
    inner join series on series.series_id = rebases.series_id
    left join {{ ref('int_actions_reported') }} as reported
        on
            reported.symbol = series.symbol
            and reported.asset_class = series.asset_class
            and reported.kind = 'split'
            and reported.ex_date > {{ local_date('rebases.first_opened_at', 'series.time_zone') }}
            and reported.ex_date <= {{ local_date('rebases.fetched_at', 'series.time_zone') }} + {{ early_days }}
    where reported.symbol is null
),

-- Rows that contradict each other about a split, none of which the prices support: whether Yahoo has divided, and by what,
-- is unknown as well.
unclear_splits as (
    select
        series.series_id,
        series.symbol,
        series.asset_class,
        series.timeframe,
        reported.ex_date,
        {{ local_instant('reported.ex_date', "'00:00'", 'series.time_zone') }} as split_at
    from {{ ref('int_actions_reported') }} as reported
    inner join series on series.symbol = reported.symbol and series.asset_class = reported.asset_class
    left join {{ ref('int_splits') }} as known
        on
            known.symbol = reported.symbol
            and known.asset_class = reported.asset_class
            and known.ex_date = reported.ex_date
            and (known.split_to <> known.split_from or known.source = 'manual')
    where reported.kind = 'split' and reported.alternatives is not null and reported.split_to is null and known.symbol is null
    group by series.series_id, series.symbol, series.asset_class, series.timeframe, reported.ex_date, series.time_zone
),

all_classified as (
    select
        series_id, batch, fetched_at, ex_date, split_to, split_from, verdict
    from classified
    union
    select
        unclear_splits.series_id, answers.batch, answers.fetched_at, unclear_splits.ex_date, 1, 1, null
    from unclear_splits
    inner join {{ ref('int_basis_answers') }} as answers
        on
            answers.symbol = unclear_splits.symbol
            and answers.asset_class = unclear_splits.asset_class
            and answers.timeframe = unclear_splits.timeframe
            and answers.first_row_at < unclear_splits.split_at
            and answers.fetched_at >= unclear_splits.split_at - interval '{{ early_days }} days'
    where answers.endpoint = 'bars' and answers.status = 'ok'
),

-- From here on: one row per answer and range between the splits that concern it.
ends as (
    select
        series_id, batch, fetched_at, ex_date, split_to, split_from, verdict
    from all_classified
    union all
    -- What lies after the last split is as traded.
    select
        series_id, batch, fetched_at, date '9999-12-31', 1, 1, 'adjusted'
    from all_classified
    group by series_id, batch, fetched_at
    union all
    select
        unknown_answers.series_id, unknown_answers.batch, unknown_answers.fetched_at, date '9999-12-31', 1, 1, 'adjusted'
    from unknown_answers
    left join all_classified
        on
            all_classified.series_id = unknown_answers.series_id
            and all_classified.batch = unknown_answers.batch
            and all_classified.fetched_at = unknown_answers.fetched_at
    where all_classified.series_id is null
),

ranges as (
    select
        series_id,
        batch,
        fetched_at,
        lag(ex_date, 1, date '0001-01-01') over in_order as first_session,
        ex_date as next_first_session,
        -- As in int_split_factors.
        round(exp(sum(case when verdict = 'adjusted' then ln(split_to) else 0 end) over from_here), 6) as new_shares,
        round(exp(sum(case when verdict = 'adjusted' then ln(split_from) else 0 end) over from_here), 6) as old_shares,
        coalesce(verdict = 'adjusted', false) as is_adjusted_next,
        min(case when verdict in ('adjusted', 'traded') then null else ex_date end) over from_here as unclear_ex_date
    from ends
    window
        in_order as (partition by series_id, batch, fetched_at order by ex_date),
        from_here as (
            partition by series_id, batch, fetched_at
            order by ex_date
            rows between current row and unbounded following
        )
),

current_bases as (
    select
        ranges.series_id,
        ranges.batch,
        ranges.fetched_at,
        ranges.first_session,
        ranges.next_first_session,
        -- Bounded as there.
        cast(
            least(greatest(ranges.new_shares / greatest(ranges.old_shares, 0.000001), 1e-16), 1e9) as numeric(38, 24)
        ) as adjustment,
        ranges.is_adjusted_next,
        case
            when ranges.unclear_ex_date is not null then 'basis undecided'
            when unknown_answers.series_id is not null then 'basis unknown'
        end as basis_problem,
        ranges.unclear_ex_date
    from ranges
    left join unknown_answers
        on
            unknown_answers.series_id = ranges.series_id
            and unknown_answers.batch = ranges.batch
            and unknown_answers.fetched_at = ranges.fetched_at

    {% if is_incremental() -%}
    union all

    -- In a range that no longer exists (its split moved, the splits after it were asked for) its answer stays as reported.
    select
        existing.series_id,
        existing.batch,
        existing.fetched_at,
        existing.first_session,
        existing.first_session,
        cast(1 as numeric(38, 24)),
        false,
        cast(null as {{ text_type() }}),
        cast(null as date)
    from {{ this }} as existing
    left join ranges
        on
            ranges.series_id = existing.series_id
            and ranges.batch = existing.batch
            and ranges.fetched_at = existing.fetched_at
            and ranges.first_session = existing.first_session
    where ranges.series_id is null
    {%- endif %}
),

final as (
    select
        current_bases.*,
        cast((select max(loads.batch) from {{ ref('int_loads') }} as loads) as integer) as changed_in_batch
    from current_bases
    {% if is_incremental() -%}
    {{ left_join_existing('current_bases', ['series_id', 'batch', 'fetched_at', 'first_session']) }}
    where {{ differs('current_bases', 'existing', 'series_id', values) }}
    {%- endif %}
)

select * from final
