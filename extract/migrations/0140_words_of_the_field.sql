-- Tables and columns get the names that the field uses for them (docs/reference/glossary.md). What readers of marts know by name
-- keeps its rows; what is derived (schema intermediate) is made again by the next build, as in 0090.
do $$
declare
    renamed record;
begin
    for renamed in
        select columns.table_schema, columns.table_name, columns.column_name, names.new_name
        from information_schema.columns as columns
        inner join information_schema.tables as tables
            on
                tables.table_schema = columns.table_schema
                and tables.table_name = columns.table_name
                and tables.table_type = 'BASE TABLE'
        inner join (
            values
                ('load_no', 'batch'), ('since_load_no', 'since_batch'), ('changed_in_load', 'changed_in_batch'),
                ('first_slot_at', 'first_expected_at'), ('slot_date', 'bar_date'), ('slot_no', 'expected_no'),
                ('is_withdrawn', 'is_retracted'), ('withdrawn_by', 'retracted_by'),
                ('source_place', 'source_rank'),
                ('outvoted_fields', 'fields_against_consensus'), ('outvoted_values', 'values_against_consensus'),
                ('is_outvoted', 'is_against_consensus'), ('is_listed', 'is_active')
        ) as names (old_name, new_name) on names.old_name = columns.column_name
        where
            columns.table_schema in ('ops', 'marts')
            or (columns.table_schema = 'intermediate' and columns.table_name = 'int_loads')
    loop
        execute format(
            'alter table %I.%I rename column %I to %I',
            renamed.table_schema, renamed.table_name, renamed.column_name, renamed.new_name
        );
    end loop;
    if to_regclass('intermediate.int_loads') is not null then
        alter schema intermediate rename to former_version_0140;
        create schema intermediate;
        alter table former_version_0140.int_loads set schema intermediate;
    end if;
end $$;
update ops.watermarks
set model = names.new_name
from (
    values
        ('int_bar_words', 'int_bar_observations'), ('int_action_words', 'int_action_observations'),
        ('int_actions_told', 'int_actions_reported'), ('int_frontier', 'int_recompute_ranges'),
        ('int_resampling_frontier', 'int_resampling_ranges'), ('int_slots', 'int_expected_bars'),
        ('int_bars_unfinished', 'int_bars_in_progress'), ('int_bars_outvoted', 'int_bars_against_consensus'),
        ('int_series_rules', 'int_series_fingerprints')
) as names (old_name, new_name)
where watermarks.model = names.old_name;
update ops.watermarks
set batch = 0, since_batch = null
where model not in ('market_data_history', 'data_corrections', 'enrichment_fetch_log', 'enrichment_compute_log');
