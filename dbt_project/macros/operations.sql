{#- What the operations and quality models share. -#}

{# Pre-hook of the staging views over schema ops: `dbt build` works before the first extract, which would make the same
   tables (extract/database.py) and adopts those that it finds. Each view makes its own, so that they can be built at
   the same time. #}
{% macro create_ops_tables(tables) %}
    {%- set missing = [] -%}
    {%- for table in tables -%}
        {%- if is_missing('ops', table) -%}{%- do missing.append(table) -%}{%- endif -%}
    {%- endfor -%}
    {%- if 'circuit_breaker' in missing %}
    create table if not exists ops.circuit_breaker (
        source text primary key,
        state text not null default 'closed',
        failures integer not null default 0,
        successes integer not null default 0,
        opened_at timestamp with time zone,
        changed_at timestamp with time zone not null default now()
    );
    {%- endif %}
    {%- if 'source_budget' in missing %}
    create table if not exists ops.source_budget (
        budget text primary key,
        used bigint,
        allowed bigint,
        window_started_at timestamp with time zone,
        blocked_until timestamp with time zone,
        changed_at timestamp with time zone not null default now()
    );
    {%- endif %}
    {%- if 'backfill_jobs' in missing %}
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
    {%- if 'pipeline_runs' in missing %}
    create table if not exists ops.pipeline_runs (
        run_id text primary key,
        started_by text not null check (started_by in ('command', 'schedule', 'api')),
        started_at timestamp with time zone not null,
        ended_at timestamp with time zone,
        status text not null default 'running' check (status in ('running', 'succeeded', 'partly', 'failed')),
        exit_code integer,
        failed_step text,
        error text
    );
    {%- endif %}
    {%- if 'pipeline_steps' in missing %}
    create table if not exists ops.pipeline_steps (
        run_id text not null,
        step text not null,
        started_at timestamp with time zone not null,
        ended_at timestamp with time zone,
        status text not null default 'running' check (status in ('running', 'succeeded', 'partly', 'failed')),
        exit_code integer,
        detail text,
        primary key (run_id, step)
    );
    {%- endif %}
    {%- if 'alerts' in missing %}
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
        first_seen_at timestamp with time zone not null,
        fired_at timestamp with time zone,
        resolved_at timestamp with time zone,
        suppressed_until timestamp with time zone,
        notified_at timestamp with time zone,
        resolution_notified_at timestamp with time zone
    );
    create unique index if not exists alerts_open on ops.alerts (rule, subject) where resolved_at is null;
    {%- endif %}
{% endmacro %}

{# What a reader of market_data_v2 has to look at: 'nothing' when the mart has not been written since `model` last read
   it; 'spans' when those that int_frontier last prepared are all that was; 'everything' when the mart was written several
   times meanwhile, or anew. #}
{% macro news_of_the_mart(model) -%}
    {%- if not execute or starts_anew(model) or rebuilt_features() -%}{{ return('everything') }}{%- endif -%}
    {%- set found = run_query("select model, since_load_no, load_no from ops.watermarks where model in ('" ~ model ~ "', 'market_data_v2', 'int_frontier')") -%}
    {%- set reached = {} -%}
    {%- for row in found.rows %}{% do reached.update({row[0]: row}) %}{% endfor -%}
    {%- set mine, mart, frontier = reached.get(model), reached.get('market_data_v2'), reached.get('int_frontier') -%}
    {%- if mine is none or mart is none -%}
        {{ return('everything') }}
    {%- elif mine[2] == mart[2] -%}
        {{ return('nothing') }}
    {%- elif frontier is not none and frontier[2] == mart[2] and frontier[1] is not none and 0 < frontier[1] <= mine[2] -%}
        {{ return('spans') }}
    {%- endif -%}
    {{ return('everything') }}
{%- endmacro %}

{# The bar of a stretch's series nearest to one of its ends, by the index of one of the two tables that hold bars. #}
{% macro neighbouring_bar(table, extreme, comparison, moment) -%}
    (
        select {{ extreme }}(bars.opened_at)
        from {{ table }} as bars
        where bars.series_id = stretches.series_id and bars.opened_at {{ comparison }} {{ moment }} and bars.is_listed
    )
{%- endmacro %}

{# Pre-hook of source_reconciliation: what was compared of bars that changed is compared anew. #}
{% macro forget_reconciled_bars() %}
    {%- if is_incremental() %}
    delete from {{ this }} as reconciled
    using {{ ref('int_bars_to_reconcile') }} as changed
    where changed.series_id = reconciled.series_id and changed.opened_at = reconciled.timestamp
    {%- endif %}
{% endmacro %}

{# The features that a series can have, by name, each with the condition under which a row lacks it. #}
{% macro lacking_features(bars) -%}
    {%- set universal = [
        'return_1h', 'return_1d', 'log_return', 'volatility_20', 'volatility_50', 'true_range', 'atr', 'hlc3', 'sma_20',
        'sma_50', 'vwap_20', 'trend_direction', 'market_structure', 'rolling_volume_20', 'volume_spike_score'
    ] -%}
    {%- set crypto = [
        'delta', 'buy_sell_ratio', 'liquidation_intensity', 'long_short_ratio', 'funding_rate_percentile',
        'exchange_inflow', 'open_interest_change'
    ] -%}
    {%- set applies = {
        'return_1h': bars ~ ".timeframe not in ('4h', '1d', '1w') and ",
        'return_1d': bars ~ ".timeframe <> '1w' and ",
    } -%}
    {%- set lacking = {} -%}
    {%- for feature in universal %}
        {%- do lacking.update({feature: applies.get(feature, '') ~ bars ~ '.' ~ feature ~ ' is null'}) %}
    {%- endfor -%}
    {%- for feature in crypto %}
        {%- do lacking.update({feature: bars ~ ".asset_class = 'crypto' and " ~ bars ~ '.' ~ feature ~ ' is null'}) %}
    {%- endfor -%}
    {{ return(lacking) }}
{%- endmacro %}

{# Condition: the notes of a row name a row check that it fails. #}
{% macro notes_a_failed_row_check(notes) -%}
    (
        {%- for name in row_checks() %}
        {{ 'or ' if not loop.first }}{{ notes }} like '%{{ name }}%'
        {%- endfor %}
    )
{%- endmacro %}

{# Which series a build is about to compute stands in ops.computations until the mart has been written. What is still
   there in a later build is of one that broke off: enrichment_compute_log logs it. #}

{# Post-hook of int_frontier, in its transaction. #}
{% macro remember_computations() %}
    insert into ops.computations (build_id, series_id, began_at)
    select distinct
        '{{ invocation_id }}',
        series_id,
        {{ warehouse_now() }}
    from {{ this }}
{% endmacro %}

{# Post-hook of market_data_v2, in its transaction. #}
{% macro forget_computations() %}
    delete from ops.computations where build_id = '{{ invocation_id }}'
{% endmacro %}

{# Post-hook of enrichment_compute_log, in its transaction. #}
{% macro forget_broken_computations() %}
    delete from ops.computations where build_id <> '{{ invocation_id }}'
{% endmacro %}

{# on-run-end: a build that failed, unlike one that was killed, can still say why. #}
{% macro explain_broken_computations(results) %}
    {%- set errors = [] -%}
    {%- for result in results if result.status in ('error', 'runtime error') and result.node.resource_type == 'model' -%}
        {%- do errors.append(result.node.name ~ ': ' ~ (result.message or 'no message')) -%}
    {%- endfor -%}
    {%- if execute and errors %}
    update ops.computations
    set error = '{{ errors[0] | replace("'", "''") }}'
    where build_id = '{{ invocation_id }}'
    {%- endif %}
{% endmacro %}
