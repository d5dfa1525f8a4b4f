-- The states of alerts: what the condition models of marts/alerts find is fired, kept, or resolved in ops.alerts; nobody
-- is notified here (scripts/monitoring/alerts.py does that). A function, so that `market run`, `market alerts` and the end of a
-- `dbt build` by hand do the same. With the rights of its owner: the role that builds writes no other table of extract.
-- False if there is nothing to look at yet. Where a condition model is missing (no build yet, or one that failed), the
-- alerts of its rules stay as they are.
create or replace function ops.evaluate_alerts(as_of timestamptz) returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $function$
declare
    conditions_there text[];
    found_by_all text;
begin
    -- Two evaluations at once would wait for each other's rows in turn.
    -- Not an advisory lock, which any reader could hold for ever: the row of Lock.ALERTS (extract/core/locks.py).
    insert into ops.locks (name) values ('alerts') on conflict do nothing;
    perform from ops.locks where name = 'alerts' for update;
    select
        array_agg(models.name),
        string_agg(
            format(
                'select found.rule, found.subject, found.value, found.threshold, found.message, rules.severity,'
                ' rules.owner, rules.runbook, rules.hold_minutes * interval ''1 minute'' as hold,'
                ' rules.suppress_minutes * interval ''1 minute'' as suppress'
                ' from marts.%I as found inner join seeds.alert_rules as rules on rules.rule = found.rule'
                ' where rules.enabled',
                models.name
            ),
            ' union all '
        )
    into conditions_there, found_by_all
    from unnest(
        array['pipeline_conditions', 'source_conditions', 'series_conditions', 'quality_conditions']
    ) as models (name)
    where to_regclass('marts.' || models.name) is not null;
    if conditions_there is null or to_regclass('seeds.alert_rules') is null then
        return false;
    end if;

    drop table if exists pg_temp.present_conditions;
    execute 'create temporary table present_conditions on commit drop as ' || found_by_all;

    update ops.alerts as kept
    set
        value = present.value,
        threshold = present.threshold,
        message = present.message,
        severity = present.severity,
        fired_at = coalesce(kept.fired_at, case when kept.first_seen_at + present.hold <= as_of then as_of end)
    from pg_temp.present_conditions as present
    where kept.rule = present.rule and kept.subject = present.subject and kept.resolved_at is null;

    insert into ops.alerts (
        rule, severity, subject, value, threshold, message, owner, runbook, first_seen_at, fired_at, suppressed_until
    )
    select
        present.rule,
        present.severity,
        present.subject,
        present.value,
        present.threshold,
        present.message,
        present.owner,
        present.runbook,
        as_of,
        case when present.hold <= interval '0' then as_of end,
        (
            select nullif(greatest(max(earlier.notified_at) + present.suppress, as_of), as_of)
            from ops.alerts as earlier
            where earlier.rule = present.rule and earlier.subject = present.subject
        )
    from pg_temp.present_conditions as present
    on conflict (rule, subject) where resolved_at is null do nothing;

    -- What never fired was never more than a suspicion.
    delete from ops.alerts as kept
    where
        kept.resolved_at is null
        and kept.fired_at is null
        and exists (
            select from seeds.alert_rules as rules
            where rules.rule = kept.rule and rules.conditions = any(conditions_there)
        )
        and not exists (
            select from pg_temp.present_conditions as present
            where present.rule = kept.rule and present.subject = kept.subject
        );

    update ops.alerts as kept
    set resolved_at = as_of
    where
        kept.resolved_at is null
        and kept.fired_at is not null
        and exists (
            select from seeds.alert_rules as rules
            where rules.rule = kept.rule and rules.conditions = any(conditions_there)
        )
        and not exists (
            select from pg_temp.present_conditions as present
            where present.rule = kept.rule and present.subject = kept.subject
        );
    return true;
end
$function$;
