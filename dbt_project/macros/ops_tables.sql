{#- The tables of schema ops that extract and the commands write, and dbt reads. Both make what is missing of them, from
    here (extract/database.py reads this file): between its two lines the macro is plain SQL. -#}
{% macro ops_tables() %}
-- `create schema if not exists` would ask for the right to create schemas even where there is nothing to create.
do $$ begin if to_regnamespace('ops') is null then create schema ops; end if; end $$;
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
-- What each source has answered, as the sum of the loads that are in it (extract/state.py).
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
-- The runs of `market run`, and each of their steps (scripts/run.py).
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
-- What the alert rules found, and who was told when (scripts/alerts.py).
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
{% endmacro %}
