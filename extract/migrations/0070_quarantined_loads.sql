-- The loads that `market quarantine` took out of force, and those that were put back (scripts/corrections/quarantine.py). dbt keeps a
-- load's number here while it is out, and notes by which load number builds process the change.
create table if not exists ops.quarantined_loads (
    source text not null,
    load_id text not null,
    -- Those it has answers on, separated by blanks; NULL: the whole market.
    symbols text,
    is_lifted boolean not null,
    reason text not null,
    changed_by text not null,
    changed_at timestamptz not null,
    committed_at timestamptz not null,
    load_no bigint,
    registered_at timestamptz,
    changed_in_load bigint,
    primary key (source, load_id)
);
-- In which run of market_data_v2, told by its stamp, each of these changes showed: what readers of its history go by.
create table if not exists ops.processed_quarantines (
    written_at timestamptz not null,
    source text not null,
    load_id text not null,
    symbols text,
    is_lifted boolean not null,
    changed_by text not null,
    primary key (written_at, source, load_id)
);
