{#-
  `market quarantine` takes a bad load out of force (`--lift`: back in). What it reported must then be nowhere, as if it had
  never come: its series are made again of all other answers, by the path of a changed registry (int_series.calendar_fingerprint),
  and the few models that are not written by series delete what may come from it. Its load number waits in
  ops.quarantined_loads, since the numbers say in which order the answers came: with a new one it would outrank
  whatever came after it.
-#}

{# SQL: the loads out of force as one text, NULL if there are none. Of one symbol (an expression), if given. #}
{% macro quarantined_list(symbol=none) -%}
    (
        select {{ joined("out_of_force.source || ' ' || out_of_force.load_id", ' ', 'out_of_force.load_id, out_of_force.source') }}
        from {{ ref('stg_ops__quarantined_loads') }} as out_of_force
        where
            not out_of_force.is_lifted
            {%- if symbol %}
            -- An answer about the whole market is about every symbol.
            and (
                out_of_force.symbols is null
                or {{ position_in_list(symbol, 'out_of_force.symbols') }} is not null
            )
            {%- endif %}
    )
{%- endmacro %}

{# Pre-hook of int_loads: a load that is lifted gets its number again. #}
{% macro bring_back_loads() %}
    {%- if is_incremental() %}
    insert into {{ this }} (batch, provider, load_id, committed_at, registered_at)
    select lifted.batch, lifted.source, lifted.load_id, lifted.committed_at, lifted.registered_at
    from ops.quarantined_loads as lifted
    where
        lifted.is_lifted
        and lifted.batch is not null
        and not exists (
            select 1
            from {{ this }} as known
            where known.provider = lifted.source and known.load_id = lifted.load_id
        )
    {%- endif %}
{% endmacro %}

{# Post-hook of int_loads, in its transaction: loads out of force leave the list, and the change is given the number by
   which the other models find it. #}
{% macro take_loads_out() %}{{ return(adapter.dispatch('take_loads_out', 'market_warehouse')()) }}{% endmacro %}
{% macro default__take_loads_out() %}{% endmacro %}
{% macro postgres__take_loads_out() %}
    update ops.quarantined_loads as quarantined
    set batch = known.batch, registered_at = known.registered_at
    from {{ this }} as known
    where known.provider = quarantined.source and known.load_id = quarantined.load_id;

    update ops.quarantined_loads
    set changed_in_batch = (select max(loads.batch) from {{ this }} as loads)
    -- A later number is of the list before this one.
    where coalesce(changed_in_batch > (select max(loads.batch) from {{ this }} as loads), true);

    delete from {{ this }} as known
    using ops.quarantined_loads as quarantined
    where
        quarantined.source = known.provider
        and quarantined.load_id = known.load_id
        and not quarantined.is_lifted
{% endmacro %}

{# The numbers of the loads that were quarantined or lifted since `model` (of several: any) last ran, lowest first; none
   where it is built from nothing anyway. #}
{% macro moved_loads(model) -%}
    {%- if not execute or flags.EMPTY or is_full_build(model) -%}{{ return([]) }}{%- endif -%}
    {{ return(run_query(
        "select batch from ops.quarantined_loads where changed_in_batch > " ~ watermark(model) ~ " order by batch"
    ).columns[0].values() | list) }}
{%- endmacro %}

{# Condition: the row came in a load that was quarantined or lifted since the reader (of several: any) last ran. #}
{% macro is_of_moved_load(reader, batch) -%}
    {%- set moved = moved_loads(reader) -%}
    {{ batch ~ ' in (' ~ moved | join(', ') ~ ')' if moved else 'false' }}
{%- endmacro %}

{# The highest load that a model written load by load need not read again: its watermark or, where loads were quarantined or
   lifted, the one before the first of these, since what later ones added depends on it. `reads_all`: then all. #}
{% macro watermark_before_moved_loads(model, reads_all=false) -%}
    {%- set moved = moved_loads(model) -%}
    {%- if not moved -%}{{ return(watermark(model)) }}{%- endif -%}
    {{ return(0 if reads_all else [watermark(model), moved[0] - 1] | min) }}
{%- endmacro %}

{# Pre-hook of such a model: what it reads again goes first. #}
{% macro delete_since_moved_loads(reads_all=false) %}
    {%- if is_incremental() and moved_loads(this.identifier) %}
    delete from {{ this }} where batch > {{ watermark_before_moved_loads(this.identifier, reads_all) }}
    {%- endif %}
{% endmacro %}

{# Pre-hook of rejected_bars: rows of series that are not in the registry are of no replaced series. #}
{% macro delete_moved_loads() %}
    {%- if is_incremental() and moved_loads(this.identifier) %}
    delete from {{ this }} where {{ is_of_moved_load(this.identifier, 'batch') }}
    {%- endif %}
{% endmacro %}

{# Pre-hook of a model written by asset: deletes its rows of assets whose answers are read again. #}
{% macro delete_replaced_assets() %}
    {%- if is_incremental() and replaced_series(this.identifier) %}
    delete from {{ this }}
    where {{ is_of_replaced_asset(this.identifier) }}
    {%- endif %}
{% endmacro %}

{# Condition: the row (of a table, if named) is of an asset of which all answers are read again. Literals, as in
   is_new_load(). #}
{% macro is_of_replaced_asset(reader, table=none) -%}
    {%- set prefix = table ~ '.' if table else '' -%}
    {%- set names = [] -%}
    {%- for series in replaced_series(reader) -%}
        {%- do names.append("('" ~ series['symbol'] | replace("'", "''") ~ "', '" ~ series['asset_class'] ~ "')") -%}
    {%- endfor -%}
    {{ '(' ~ prefix ~ 'symbol, ' ~ prefix ~ 'asset_class) in (' ~ names | unique | join(', ') ~ ')' if names else 'false' }}
{%- endmacro %}

{# Post-hook of market_data_v2, in its transaction: notes the stamp of the rows in which quarantines show, so that its
   history can distinguish them from what sources changed. #}
{% macro record_processed_quarantines() %}
    {%- if is_incremental() and moved_loads('market_data_v2') %}
    insert into ops.processed_quarantines (written_at, source, load_id, symbols, is_lifted, changed_by)
    select {{ written_at() }}, moved.source, moved.load_id, moved.symbols, moved.is_lifted, moved.changed_by
    from ops.quarantined_loads as moved
    where moved.changed_in_batch > {{ watermark('market_data_v2') }}
    {%- endif %}
{% endmacro %}

{# SQL: the value that all rows of a group have; NULL where they differ. #}
{% macro only_value(column) -%}
    case when min({{ column }}) = max({{ column }}) then min({{ column }}) end
{%- endmacro %}

{# SQL: what an alert says of the one load that brought what is wrong; nothing where there is no such load. #}
{% macro load_to_blame(load_id) -%}
    coalesce('; it came in one load: market quarantine ' || {{ load_id }} || ' takes that out of force', '')
{%- endmacro %}
