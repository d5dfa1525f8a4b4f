{#- What the operations and quality models share. -#}

{# Pre-hook of the staging views over schema ops: `dbt build` works before the first extract, which would make the same
   tables (extract/database.py) and adopts those that it finds. Each view makes its own, so that they can be built at
   the same time. #}
{% macro create_ops_tables(tables) %}
    {%- if 'circuit_breaker' in tables %}
    create table if not exists ops.circuit_breaker (
        source text primary key,
        state text not null default 'closed',
        failures integer not null default 0,
        successes integer not null default 0,
        opened_at timestamp with time zone,
        changed_at timestamp with time zone not null default now()
    );
    {%- endif %}
    {%- if 'source_budget' in tables %}
    create table if not exists ops.source_budget (
        budget text primary key,
        used bigint,
        allowed bigint,
        window_started_at timestamp with time zone,
        blocked_until timestamp with time zone,
        changed_at timestamp with time zone not null default now()
    );
    {%- endif %}
    {%- if 'backfill_jobs' in tables %}
    create table if not exists ops.backfill_jobs (
        job_id bigint generated always as identity primary key,
        source text,
        window_start timestamp with time zone not null,
        window_end timestamp with time zone not null,
        state text not null default 'running' check (state in ('running', 'paused', 'finished')),
        created_at timestamp with time zone not null default now(),
        asked_at timestamp with time zone not null default now(),
        changed_at timestamp with time zone not null default now()
    );
    create table if not exists ops.backfill_series (
        job_id bigint not null references ops.backfill_jobs on delete cascade,
        symbol text not null,
        asset_class text not null,
        timeframe text not null,
        primary key (job_id, symbol, timeframe)
    );
    {%- endif %}
{% endmacro %}
