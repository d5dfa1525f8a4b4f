-- Who holds which lock (extract/core/locks.py). The row says it, the advisory lock `key` of the session `pid` proves it.
-- Readers have no right to write here, so none can take a lock of ours.
create table if not exists ops.locks (
    name text primary key check (name in ('run', 'collector', 'alerts', 'roles')),
    pid integer,
    key integer,
    purpose text,
    held_since timestamptz
);
-- Sessions with an open transaction that has touched one of our relations, for the message about a lock that was not to be
-- had: `description` says who it is and how to end it.
create or replace view ops.blocking_sessions as
with holding as (
    select
        activity.pid, activity.usename, activity.application_name, activity.state, activity.xact_start,
        array_agg(distinct schemas.nspname || '.' || relations.relname) as relations
    from pg_locks as locks
    inner join pg_stat_activity as activity on activity.pid = locks.pid
    inner join pg_class as relations on relations.oid = locks.relation
    inner join pg_namespace as schemas on schemas.oid = relations.relnamespace
    where
        locks.granted and locks.pid <> pg_backend_pid() and activity.datname = current_database()
        and relations.relkind in ('r', 'p', 'v', 'm')
        and left(schemas.nspname, 3) <> 'pg_' and schemas.nspname <> 'information_schema'
    group by activity.pid, activity.usename, activity.application_name, activity.state, activity.xact_start
)

select
    holding.*,
    'session ' || pid || ' (' || concat_ws(', ', usename, nullif(application_name, ''), state) || ')'
    || coalesce(', in a transaction since ' || to_char(xact_start at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC,', '')
    || ' holds ' || array_to_string(relations[1:3], ', ') || case when cardinality(relations) > 3 then ' and more' else '' end
    || ': let it end, or end it with select pg_terminate_backend(' || pid || ')' as description
from holding;
