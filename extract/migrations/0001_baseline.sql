-- The tables of the first version: where raw answers land (dlt adopts tables that it finds), and what the pipeline
-- writes about itself. Warehouses of that version have them already.

create schema if not exists raw_polygon;
create table if not exists raw_polygon.responses (
    run_id text, symbol text, asset_class text, provider_symbol text, endpoint text, origin text, timeframe text,
    window_start timestamptz, window_end timestamptz, status text, payload jsonb, bad_payload text, payload_sha text,
    row_count bigint, http_status bigint, response_ms bigint, quota_remaining bigint, breaker_state text, error text,
    requested_at timestamptz, fetched_at timestamptz, _dlt_load_id text not null
);
create table if not exists raw_polygon._dlt_loads (
    load_id varchar not null, schema_name varchar, status bigint not null, inserted_at timestamptz not null,
    schema_version_hash varchar
);

create schema if not exists raw_binance;
create table if not exists raw_binance.responses (
    run_id text, symbol text, asset_class text, provider_symbol text, endpoint text, origin text, timeframe text,
    window_start timestamptz, window_end timestamptz, status text, payload jsonb, bad_payload text, payload_sha text,
    row_count bigint, http_status bigint, response_ms bigint, quota_remaining bigint, breaker_state text, error text,
    requested_at timestamptz, fetched_at timestamptz, _dlt_load_id text not null
);
create table if not exists raw_binance._dlt_loads (
    load_id varchar not null, schema_name varchar, status bigint not null, inserted_at timestamptz not null,
    schema_version_hash varchar
);

create schema if not exists raw_yahoo;
create table if not exists raw_yahoo.responses (
    run_id text, symbol text, asset_class text, provider_symbol text, endpoint text, origin text, timeframe text,
    window_start timestamptz, window_end timestamptz, status text, payload jsonb, bad_payload text, payload_sha text,
    row_count bigint, http_status bigint, response_ms bigint, quota_remaining bigint, breaker_state text, error text,
    requested_at timestamptz, fetched_at timestamptz, _dlt_load_id text not null
);
create table if not exists raw_yahoo._dlt_loads (
    load_id varchar not null, schema_name varchar, status bigint not null, inserted_at timestamptz not null,
    schema_version_hash varchar
);

create schema if not exists raw_coinmetrics;
create table if not exists raw_coinmetrics.responses (
    run_id text, symbol text, asset_class text, provider_symbol text, endpoint text, origin text, timeframe text,
    window_start timestamptz, window_end timestamptz, status text, payload jsonb, bad_payload text, payload_sha text,
    row_count bigint, http_status bigint, response_ms bigint, quota_remaining bigint, breaker_state text, error text,
    requested_at timestamptz, fetched_at timestamptz, _dlt_load_id text not null
);
create table if not exists raw_coinmetrics._dlt_loads (
    load_id varchar not null, schema_name varchar, status bigint not null, inserted_at timestamptz not null,
    schema_version_hash varchar
);

create schema if not exists ops;
create table if not exists ops.circuit_breaker (
    source text primary key,
    state text not null default 'closed',
    failures integer not null default 0,
    successes integer not null default 0,
    opened_at timestamptz,
    changed_at timestamptz not null default now()
);
create table if not exists ops.source_budget (
    budget text primary key,
    used bigint,
    allowed bigint,
    window_started_at timestamptz,
    blocked_until timestamptz,
    changed_at timestamptz not null default now()
);
create table if not exists ops.backfill_jobs (
    job_id bigint generated always as identity primary key,
    source text,
    window_start timestamptz not null,
    window_end timestamptz not null,
    state text not null default 'running' check (state in ('running', 'paused', 'finished')),
    created_at timestamptz not null default now(),
    -- Failures before this do not count: asking again grants new retries.
    asked_at timestamptz not null default now(),
    changed_at timestamptz not null default now()
);
create table if not exists ops.backfill_series (
    job_id bigint not null references ops.backfill_jobs on delete cascade,
    symbol text not null,
    asset_class text not null,
    timeframe text not null,
    primary key (job_id, symbol, timeframe)
);
-- What each source has answered, as the sum of the loads that are in it (extract/coverage/state.py).
create table if not exists ops.coverage (
    source text not null,
    endpoint text not null,
    symbol text,
    timeframe text,
    windows tstzmultirange not null,
    asked_at timestamptz,
    unique nulls not distinct (source, endpoint, symbol, timeframe)
);
create table if not exists ops.coverage_loads (
    source text not null,
    load_id text not null,
    primary key (source, load_id)
);
-- The runs of `market run`, and each of their steps (scripts/pipeline/run.py).
create table if not exists ops.pipeline_runs (
    run_id text primary key,
    started_by text not null check (started_by in ('command', 'schedule', 'api')),
    started_at timestamptz not null,
    ended_at timestamptz,
    status text not null default 'running' check (status in ('running', 'succeeded', 'partly', 'failed')),
    exit_code integer,
    failed_step text,
    error text
);
create table if not exists ops.pipeline_steps (
    run_id text not null,
    step text not null,
    started_at timestamptz not null,
    ended_at timestamptz,
    status text not null default 'running' check (status in ('running', 'succeeded', 'partly', 'failed')),
    exit_code integer,
    detail text,
    primary key (run_id, step)
);
-- What the alert rules found, and who was told when (scripts/monitoring/alerts.py).
create table if not exists ops.alerts (
    alert_id bigint generated always as identity primary key,
    rule text not null,
    severity text not null,
    subject text not null,
    value numeric(20, 4),
    threshold numeric(20, 4),
    message text not null,
    owner text,
    runbook text,
    first_seen_at timestamptz not null,
    fired_at timestamptz,
    resolved_at timestamptz,
    suppressed_until timestamptz,
    notified_at timestamptz,
    resolution_notified_at timestamptz
);
create unique index if not exists alerts_open on ops.alerts (rule, subject) where resolved_at is null;
create table if not exists ops.alert_silences (
    rule text not null,
    subject text,
    silenced_until timestamptz not null,
    reason text,
    created_at timestamptz not null default now()
);

-- How far each incremental model has worked, written in the transaction that writes its rows (macros/loads.sql).
create table if not exists ops.watermarks (
    model text primary key,
    since_load_no bigint,
    load_no bigint not null,
    advanced_at timestamptz not null
);
-- began_at and advanced_at: the model's last run on the real clock; written_at: the stamp of the last rows it wrote
-- (market_data_v2) or read of it (its readers), on the warehouse's.
alter table ops.watermarks add column if not exists began_at timestamptz;
alter table ops.watermarks add column if not exists written_at timestamptz;
create table if not exists ops.deleted_bars (
    id bigint primary key,
    deleted_at timestamptz not null
);
create table if not exists ops.rebuilds (
    written_at timestamptz primary key,
    features text not null
);
create table if not exists ops.manual_corrections (
    correction_id bigint generated always as identity primary key,
    symbol text not null,
    asset_class text not null,
    timeframe text not null,
    opened_at timestamptz not null,
    is_withdrawal boolean not null,
    open numeric,
    high numeric,
    low numeric,
    close numeric,
    volume numeric,
    taker_buy_volume numeric,
    fields_corrected text,
    reason text not null,
    corrected_by text not null,
    corrected_at timestamptz not null,
    -- On the real clock, as dlt's: loads are numbered by it.
    recorded_at timestamptz not null default clock_timestamp()
);
create table if not exists ops.computations (
    build_id text,
    series_id integer,
    began_at timestamptz not null,
    error text,
    primary key (build_id, series_id)
);
