-- What the views and seeds were last built from (scripts/pipeline/build.py): a scheduled turn of the same project leaves them out.
create table if not exists ops.project_state (
    is_only boolean primary key default true check (is_only),
    digest text not null,
    built_at timestamptz not null
);
-- The newest bar that each run brought, by class and source, and when readers of the mart had it (scripts/pipeline/run.py).
create table if not exists ops.run_latencies (
    run_id text not null,
    asset_class text not null,
    source text not null,
    newest_bar_closed_at timestamptz not null,
    in_mart_at timestamptz not null,
    -- Of the scheduler's loop over intraday bars: a daily run promises no seconds.
    is_turn boolean not null,
    primary key (run_id, asset_class, source)
);
