-- One row per run, class and source of which it brought bars.
select
    run_id,
    asset_class,
    source,
    newest_bar_closed_at,
    in_mart_at,
    is_turn
from {{ source('ops', 'run_latencies') }}
