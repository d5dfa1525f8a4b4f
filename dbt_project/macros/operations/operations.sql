{#- What the operations and quality models share. -#}

{# What a reader of market_data_v2 has to look at: 'nothing' when the mart has not been written since `model` last read
   it; 'ranges' when those that int_recompute_ranges last prepared are all that was; 'everything' when the mart was written several
   times meanwhile, or in full, or features of all its bars were computed again (a new column brings no load: without this the
   log and the quality of days missed it). #}
{% macro changed_rows_of_the_mart(model) -%}
    {%- if not execute or is_full_build(model) or rebuilt_features() -%}{{ return('everything') }}{%- endif -%}
    {%- set found = run_query("select model, since_batch, batch, coalesce(written_at < rebuilt.last_at, rebuilt.last_at is not null) from ops.watermarks cross join (select max(written_at) as last_at from ops.rebuilds) as rebuilt where model in ('" ~ model ~ "', 'market_data_v2', 'int_recompute_ranges')") -%}
    {%- set reached = {} -%}
    {%- for row in found.rows %}{% do reached.update({row[0]: row}) %}{% endfor -%}
    {%- set mine, mart, recompute_ranges = reached.get(model), reached.get('market_data_v2'), reached.get('int_recompute_ranges') -%}
    {%- if mine is none or mart is none or mine[3] -%}
        {{ return('everything') }}
    {%- elif mine[2] == mart[2] -%}
        {{ return('nothing') }}
    {%- elif recompute_ranges is not none and recompute_ranges[2] == mart[2] and recompute_ranges[1] is not none and 0 < recompute_ranges[1] <= mine[2] -%}
        {{ return('ranges') }}
    {%- endif -%}
    {{ return('everything') }}
{%- endmacro %}

{# The bar of a range's series nearest to one of its ends, by the index of one of the two tables that hold bars. #}
{% macro neighbouring_bar(table, extreme, comparison, moment) -%}
    (
        select {{ extreme }}(bars.opened_at)
        from {{ table }} as bars
        where bars.series_id = missing_ranges.series_id and bars.opened_at {{ comparison }} {{ moment }} and bars.is_active
    )
{%- endmacro %}

{# Pre-hook of source_reconciliation: deletes the comparisons of bars that changed, which are then compared again. #}
{% macro delete_reconciled_bars() %}
    {%- if is_incremental() %}
    delete from {{ this }} as reconciled
    using (
        select
            series.symbol,
            series.asset_class,
            series.timeframe,
            bars.opened_at
        from {{ ref('int_bars_to_reconcile') }} as bars
        inner join {{ ref('int_series') }} as series on series.series_id = bars.series_id
    ) as changed
    -- By the key, which has the index: else each run would read all that was ever compared.
    where
        reconciled.symbol = changed.symbol
        and reconciled.asset_class = changed.asset_class
        and reconciled.timeframe = changed.timeframe
        and reconciled.timestamp = changed.opened_at
    ;
    delete from {{ this }} as reconciled
    using {{ ref('int_series_fingerprints') }} as rules
    where
        rules.series_id = reconciled.series_id
        and rules.changed_in_batch > {{ watermark(this.identifier) }}
    {%- endif %}
{% endmacro %}

{# Condition: the notes of a row name a row check that it fails. #}
{% macro notes_a_failed_row_check(notes) -%}
    (
        {%- for name in row_checks() %}
        {{ 'or ' if not loop.first }}{{ notes }} like '%{{ name }}%'
        {%- endfor %}
    )
{%- endmacro %}

{# Which series a build is about to compute is recorded in ops.computations until the mart has been written. What is still
   there in a later build is of one that broke off: enrichment_compute_log logs it. #}

{# Post-hook of int_recompute_ranges, in its transaction. #}
{% macro record_computations() %}{{ return(adapter.dispatch('record_computations', 'market_warehouse')()) }}{% endmacro %}
{% macro default__record_computations() %}{% endmacro %}
{% macro postgres__record_computations() %}
    insert into ops.computations (build_id, series_id, began_at)
    select distinct
        '{{ invocation_id }}',
        series_id,
        {{ warehouse_now() }}
    from {{ this }}
{% endmacro %}

{# Post-hook of market_data_v2, in its transaction. #}
{% macro delete_computations() %}{{ return(adapter.dispatch('delete_computations', 'market_warehouse')()) }}{% endmacro %}
{% macro default__delete_computations() %}{% endmacro %}
{% macro postgres__delete_computations() %}
    delete from ops.computations where build_id = '{{ invocation_id }}'
{% endmacro %}

{# Post-hook of enrichment_compute_log, in its transaction. #}
{% macro delete_broken_computations() %}
    delete from ops.computations where build_id <> '{{ invocation_id }}'
{% endmacro %}

{# on-run-end: a build that failed, unlike one that was killed, can still say why. #}
{% macro explain_broken_computations(results) %}{{ return(adapter.dispatch('explain_broken_computations', 'market_warehouse')(results)) }}{% endmacro %}
{% macro default__explain_broken_computations(results) %}{% endmacro %}
{% macro postgres__explain_broken_computations(results) %}
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

{# on-run-end: a build by hand that made the condition models brings the states of alerts up to date, and notifies nobody.
   `market run` does it itself, with the outcome of the run, and notifies. #}
{% macro evaluate_alerts(results) %}{{ return(adapter.dispatch('evaluate_alerts', 'market_warehouse')(results)) }}{% endmacro %}
{% macro default__evaluate_alerts(results) %}{% endmacro %}
{% macro postgres__evaluate_alerts(results) %}
    {%- if execute and flags.WHICH in ['build', 'run', 'retry'] and not flags.EMPTY and not env_var('MARKET_RUN', '') -%}
        {%- set made = [] -%}
        {%- for result in results if result.node.name.endswith('_conditions') -%}
            {%- do made.append(result.node.name) -%}
        {%- endfor -%}
        {%- if made %}
    select ops.evaluate_alerts({{ warehouse_now() }})
        {%- endif -%}
    {%- endif -%}
{% endmacro %}

{# on-run-end: a node that did not get a lock in time says so, but not whose open transaction was in its way. #}
{% macro name_blocking_sessions(results) %}{{ return(adapter.dispatch('name_blocking_sessions', 'market_warehouse')(results)) }}{% endmacro %}
{% macro default__name_blocking_sessions(results) %}{% endmacro %}
{% macro postgres__name_blocking_sessions(results) %}
    {%- set failed = [] -%}
    {%- for result in results if result.status == 'error' -%}
        {%- do failed.append(result) -%}
    {%- endfor -%}
    {%- if execute and failed -%}
        {%- set words = words_of_lock_timeout() -%}
        {%- set waited = [] -%}
        {%- for result in failed if words in (result.message or '') -%}
            {%- do waited.append(result.node.name) -%}
        {%- endfor -%}
        {%- if waited -%}
            {%- set found = run_query('select description from ops.blocking_sessions order by xact_start nulls last, pid limit 5').columns[0].values() -%}
            {%- do log('no lock in time for ' ~ waited | join(', ') ~ ': ' ~ (found | join('; ') or 'the session that held it has ended meanwhile') ~ '; then: dbt retry', info=true) -%}
        {%- endif -%}
    {%- endif -%}
{% endmacro %}

{# What the server says, in its own language, of a lock that was not had in time, as dbt hands over the words alone: one that
   another session still holds is asked for once more, for a millisecond. #}
{% macro words_of_lock_timeout() %}
    {%- do run_query("""
        do $$
        declare
            held text;
        begin
            perform set_config('market.words_of_lock_timeout', 'lock timeout', false);
            for held in select unnest(relations) from ops.blocking_sessions loop
                begin
                    perform set_config('lock_timeout', '1ms', true);
                    execute 'lock table ' || held || ' in access exclusive mode';
                    raise exception 'that one is free: the lock goes with this block';
                exception
                    when lock_not_available then
                        perform set_config('market.words_of_lock_timeout', sqlerrm, false);
                        exit;
                    when others then null;
                end;
            end loop;
        end
        $$
    """) -%}
    {%- do return(run_query("select current_setting('market.words_of_lock_timeout')").columns[0].values()[0]) -%}
{% endmacro %}
