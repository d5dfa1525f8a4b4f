-- This version derives bars and features by other rules and columns than the one before: what is derived is made again
-- from the raw answers by the next build. Until that build has ended, views go on reading what was there: it is renamed
-- with all that hangs on it, not dropped (macros/upgrade.sql drops it when nothing reads it any more). The numbers of the
-- loads stay, since logs and watermarks speak of them.
do $$
begin
    if to_regclass('intermediate.int_loads') is not null then
        alter schema intermediate rename to former_version_0090;
        create schema intermediate;
        alter table former_version_0090.int_loads set schema intermediate;
    end if;
end $$;
-- What reads it works in everything again. The mart keeps its rows and is compared with all that is derived: what differs
-- is written, and on record. Logs, corrections and history only grow.
update ops.watermarks
set load_no = 0, since_load_no = null
where model not in ('market_data_history', 'data_corrections', 'enrichment_fetch_log', 'enrichment_compute_log');
