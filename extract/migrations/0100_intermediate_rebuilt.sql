-- Which base bars had no trades is judged by another rule, and of refused rows, too (int_ranges_without_trades): what is
-- derived is made again from the raw answers by the next build, as by 0090_intermediate_rebuilt.
do $$
begin
    if to_regclass('intermediate.int_loads') is not null then
        alter schema intermediate rename to former_version_0100;
        create schema intermediate;
        alter table former_version_0100.int_loads set schema intermediate;
    end if;
end $$;
update ops.watermarks
set load_no = 0, since_load_no = null
where model not in ('market_data_history', 'data_corrections', 'enrichment_fetch_log', 'enrichment_compute_log');
