{#-
  A build of many bars computed by several processes. Postgres gives no window function to a parallel worker, but it may run a
  function there that is declared PARALLEL SAFE, whatever that computes. So a model's own compiled SQL, and that of the views
  it reads, is made a function for each shard, and the rows are those of all functions. Each row is computed by the same SQL
  from the same bars as in one process: the same bits.

  Nothing outlives the model's transaction: functions are created and dropped in it, so that a run that is killed leaves none.
  Other engines spread a query over their workers themselves.
-#}

{# The models that are computed in shards: `of`, the table that says what is computed; `order`, the two columns by which it is
   cut (a shard is a range of them); `bars`, how many bars of the mart its row costs; `views`, read by the model, whose SQL
   comes along; `tables`, of which a shard's bars are joined only to rows with the same columns of the order, or of the same
   `assets`. These conditions change no row: they spare each function the rows of the others. Resampled bars are cut by whole
   series: which load ended a bar is looked up in all later bars of its base. #}
{% macro computed_in_shards() -%}
    {{ return({
        'market_data_v2': {
            'of': 'int_bars_to_compute',
            'order': ['series_id', 'range_no'],
            'bars': '1',
            'assets': [
                'min(symbol)', 'min(asset_class)',
                epoch_seconds('min(closed_at)') ~ ' - 1', epoch_seconds('max(closed_at)') ~ ' + 1',
            ],
            'views': ['int_price_features', 'int_features'],
            'tables': {'int_liquidations_by_bar': 'order', 'int_futures_as_of': 'assets'},
        },
        'int_bars_resampled': {
            'of': 'int_resampling_ranges',
            'order': ['series_id', 'step_minutes'],
            'bars': 'base_bars_expected / 6',
            'assets': [],
            'views': [],
            'tables': {},
        },
    }[this.identifier]) }}
{%- endmacro %}

{# The select of a table, as dbt asks for it. Of a model with `meta.computed_in_shards` that has many bars to compute: one
   that workers share. int_bars_resampled compares an increment with what it holds of whole series: only a full build is cut. #}
{% macro postgres__get_create_table_as_sql(temporary, relation, sql) -%}
    {%- set when_cut = ['always'] if temporary else ['always', 'in full'] -%}
    {%- set is_cut = model.resource_type == 'model' and model.config.meta.computed_in_shards in when_cut -%}
    {%- set calls = create_shard_functions(sql, shards_to_compute()) if is_cut else [] -%}
    {%- if not calls or not is_shared_by_workers(calls | join(' union all ')) -%}
        {{ return(create_table_as(temporary, relation, sql)) }}
    {%- endif -%}
    {%- if model.config.contract.enforced and not temporary %}{{ get_assert_columns_equivalent(sql) }}{% endif %}
    {#- Not dbt's insert into a table with the contract's columns: an insert takes no rows from workers. Types are the
        contract's, its constraints are added by finish_shards(). -#}
    create {{ 'temporary ' if temporary }}table {{ relation }} as
    {{ calls | join('\nunion all\n') }}
{%- endmacro %}

{# The shards that this run's bars make: lists of parts (the columns of the order, bars, assets), in their order. None where one
   process is to compute them: there are few (a turn's), one worker is asked for (FEATURE_COMPUTATION_WORKERS), or the server has
   none to give. #}
{% macro shards_to_compute() -%}
    {%- if target.threads < 2 -%}{{ return([]) }}{%- endif -%}
    {%- set cut = computed_in_shards() -%}
    {%- set parts = run_query(
        'select ' ~ (cut.order + ['coalesce(sum(' ~ cut.bars ~ '), 0)'] + cut.assets) | join(', ') ~ ' from ' ~ ref(cut.of)
        ~ ' group by ' ~ cut.order | join(', ') ~ ' order by ' ~ cut.order | join(', ')
    ).rows -%}
    {%- set bars = parts | sum(attribute=2) -%}
    {#- Each shard is a function to plan, and its rows wait in a file of their own: never more than 32. -#}
    {%- set bars_of_a_shard = [var('shard_bars') | int, bars // 32] | max -%}
    {%- if bars < 2 * bars_of_a_shard or not has_workers() -%}{{ return([]) }}{%- endif -%}
    {%- set shards, taken = [], namespace(bars=0, shard=-1) -%}
    {%- for part in parts -%}
        {%- if taken.bars // bars_of_a_shard != taken.shard -%}
            {%- do shards.append([]) -%}
            {%- set taken.shard = taken.bars // bars_of_a_shard -%}
        {%- endif -%}
        {%- do shards[-1].append(part) -%}
        {%- set taken.bars = taken.bars + part[2] -%}
    {%- endfor -%}
    {{ return(shards) }}
{%- endmacro %}

{# Whether the server has workers to give, and the language of the functions may be used. #}
{% macro has_workers() -%}
    {{ return(run_query(
        "select least(cast(current_setting('max_parallel_workers') as integer), "
        ~ "cast(current_setting('max_worker_processes') as integer)) > 0 and has_language_privilege('plpgsql', 'usage')"
    ).rows[0][0]) }}
{%- endmacro %}

{# Condition: a row with these columns lies between the first and the last part of a shard. #}
{% macro lies_in_shard(columns, parts) -%}
    {%- set first, last = parts[0], parts[-1] -%}
    {%- if first[0] == last[0] -%}
        {{ columns[0] }} = {{ first[0] }} and {{ columns[1] }} between {{ first[1] }} and {{ last[1] }}
    {%- else -%}
        {{ columns[0] }} between {{ first[0] }} and {{ last[0] }}
        and ({{ columns[0] }} > {{ first[0] }} or {{ columns[1] }} >= {{ first[1] }})
        and ({{ columns[0] }} < {{ last[0] }} or {{ columns[1] }} <= {{ last[1] }})
    {%- endif -%}
{%- endmacro %}

{# Condition: a row is of an asset of the shard, and closes while its bars do. Literals: Postgres then knows how few rows these
   are of a table of all assets. #}
{% macro is_of_assets(parts) -%}
    {%- set assets = [] -%}
    {%- for part in parts -%}
        {%- do assets.append('(' ~ literal(part[3], 'varchar') ~ ', ' ~ literal(part[4], 'varchar') ~ ')') -%}
    {%- endfor -%}
    {%- set seconds = "timestamp with time zone '1970-01-01 00:00:00+00' + interval '1 second' * " -%}
    {#- Of very many assets (each with a few bars) the list would cost more than it spares. -#}
    {%- if assets | unique | list | length <= 100 %}(symbol, asset_class) in ({{ assets | unique | join(', ') }}) and {% endif -%}
    closed_at between {{ seconds }}({{ parts | map(attribute=5) | min }}) and {{ seconds }}({{ parts | map(attribute=6) | max }})
{%- endmacro %}

{# Makes a function of the model's compiled SQL for each shard, and returns a select from each. What the SQL reads is put
   before it under the same names: tables with the shard's rows, views with their own SQL, which reads those. #}
{% macro create_shard_functions(sql, shards) -%}
    {%- if not shards -%}{{ return([]) }}{%- endif -%}
    {%- set cut = computed_in_shards() -%}
    {%- set calls, names, values, types = [], [], [], [] -%}
    {%- for name, data_type in columns_of_select(sql).items() -%}
        {%- do names.append(adapter.quote(name)) -%}
        {%- do values.append('cast(' ~ adapter.quote(name) ~ ' as ' ~ data_type ~ ') as ' ~ adapter.quote(name)) -%}
        {%- do types.append(adapter.quote(name) ~ ' ' ~ data_type) -%}
    {%- endfor -%}
    {%- for parts in shards -%}
        {%- set is_in_order = lies_in_shard(cut.order, parts) -%}
        {%- set inputs = [cut.of ~ ' as not materialized (select * from ' ~ ref(cut.of) ~ ' where ' ~ is_in_order ~ ')'] -%}
        {%- for table, by in cut.tables.items() -%}
            {%- set condition = is_in_order if by == 'order' else is_of_assets(parts) -%}
            {%- do inputs.append(table ~ ' as not materialized (select * from ' ~ ref(table) ~ ' where ' ~ condition ~ ')') -%}
        {%- endfor -%}
        {%- for view in cut.views -%}
            {%- set view_sql = render(graph.nodes['model.' ~ project_name ~ '.' ~ view].raw_code) -%}
            {%- do inputs.append(view ~ ' as (' ~ with_inputs_of_shard(view_sql) ~ '\n)') -%}
        {%- endfor -%}
        {%- set name = ref(cut.of).include(identifier=false) ~ '.' ~ adapter.quote(prefix_of_shards() ~ loop.index) -%}
        {%- do run_query(
            'create function ' ~ name ~ '() returns setof record language plpgsql stable parallel safe cost 1000000000'
            ~ ' as $shard_of_a_build$\n#variable_conflict use_column\nbegin\nreturn query with\n' ~ inputs | join(',\n')
            ~ '\nselect ' ~ values | join(', ') ~ ' from (\n' ~ with_inputs_of_shard(sql) ~ '\n) as computed;\nend\n$shard_of_a_build$'
        ) -%}
        {%- do calls.append('select ' ~ names | join(', ') ~ ' from ' ~ name ~ '() as shard (' ~ types | join(', ') ~ ')') -%}
    {%- endfor -%}
    {{ return(calls) }}
{%- endmacro %}

{# The columns that the model's table gets: name -> type. Those of its contract, in its order, or else of its SQL. #}
{% macro columns_of_select(sql) -%}
    {%- set found = {} -%}
    {%- if model.config.contract.enforced -%}
        {%- for column in model.columns.values() -%}{%- do found.update({column.name: column.data_type}) -%}{%- endfor -%}
    {%- else -%}
        {%- set view = adapter.quote(prefix_of_shards() ~ 'columns') -%}
        {%- do run_query('create temporary view ' ~ view ~ ' as ' ~ sql) -%}
        {%- for row in run_query(
            "select attname, format_type(atttypid, atttypmod) from pg_attribute where attnum > 0 and attrelid = cast('pg_temp."
            ~ view ~ "' as regclass) order by attnum"
        ).rows -%}
            {%- do found.update({row[0]: row[1]}) -%}
        {%- endfor -%}
        {%- do run_query('drop view pg_temp.' ~ view) -%}
    {%- endif -%}
    {{ return(found) }}
{%- endmacro %}

{# SQL that reads a shard's rows instead of whole tables. #}
{% macro with_inputs_of_shard(sql) -%}
    {%- set cut, replaced = computed_in_shards(), namespace(sql=sql) -%}
    {%- for input in [cut.of] + cut.tables | list + cut.views -%}
        {%- set replaced.sql = replaced.sql | replace(ref(input) | string, input) -%}
    {%- endfor -%}
    {{ return(replaced.sql) }}
{%- endmacro %}

{# How this model's functions are called in this run: nobody else's. #}
{% macro prefix_of_shards() -%}
    {{ return('shard_' ~ local_md5(invocation_id ~ this)[:12] ~ '_') }}
{%- endmacro %}

{# Whether Postgres lets its workers share the functions. As many as FEATURE_COMPUTATION_WORKERS compute, and this session only
   writes: with a shard of its own it would leave them waiting meanwhile with what they have computed. #}
{% macro is_shared_by_workers(select) -%}
    {%- do run_query('set local max_parallel_workers_per_gather = ' ~ target.threads) -%}
    {%- do run_query('set local parallel_leader_participation = off') -%}
    {%- set plan = run_query('explain (costs off) ' ~ select).columns[0].values() | join('\n') -%}
    {{ return('Parallel Append' in plan) }}
{%- endmacro %}

{# Post-hook of a model that is computed in shards: the constraints of its contract, where it was made without them, and
   the functions are dropped. #}
{% macro finish_shards() %}{{ return(adapter.dispatch('finish_shards', 'market_warehouse')()) }}{% endmacro %}
{% macro default__finish_shards() %}{% endmacro %}
{% macro postgres__finish_shards() -%}
    {%- set functions = run_query(
        "select cast(cast(oid as regprocedure) as text) from pg_proc where proname like '" ~ prefix_of_shards().replace('_', '\\_') ~ "%'"
    ).columns[0].values() if execute else [] -%}
    {%- if functions -%}
        {%- set required = [] -%}
        {%- for column in model.columns.values() if model.config.contract.enforced -%}
            {%- if column.constraints | selectattr('type', 'equalto', 'not_null') | list -%}
                {%- do required.append('alter column ' ~ adapter.quote(column.name) ~ ' set not null') -%}
            {%- endif -%}
        {%- endfor -%}
        {%- if required and not is_incremental() %}
    alter table {{ this }} {{ required | join(', ') }};
        {%- endif %}
        {%- for function in functions %}
    drop function {{ function }};
        {%- endfor %}
    {%- endif -%}
{%- endmacro %}
