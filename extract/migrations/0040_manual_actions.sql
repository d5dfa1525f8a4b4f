-- Splits and dividends that were set or struck by hand: rows are added, the newest one on an event holds.
create table if not exists ops.manual_actions (
    action_id bigint generated always as identity primary key,
    symbol text not null,
    asset_class text not null,
    kind text not null check (kind in ('split', 'dividend')),
    ex_date date not null,
    -- set: these values; strike: there is no such event; withdraw: what the sources say holds again.
    change text not null check (change in ('set', 'strike', 'withdraw')),
    split_to numeric,
    split_from numeric,
    amount numeric,
    reason text not null,
    corrected_by text not null,
    corrected_at timestamptz not null,
    -- On the real clock, as dlt's: loads are numbered by it.
    recorded_at timestamptz not null default clock_timestamp(),
    check ((change = 'set' and kind = 'split') = (split_to is not null and split_from is not null)),
    check (split_to > 0 and split_from > 0),
    check ((change = 'set' and kind = 'dividend') = (amount is not null)),
    check (amount > 0)
);
