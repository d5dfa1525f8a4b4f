-- Every split and dividend that was set, struck or given back to the sources by hand; the newest row on an event holds.
select
    action_id,
    symbol,
    asset_class,
    kind,
    ex_date,
    change,
    split_to,
    split_from,
    amount,
    reason,
    corrected_by,
    corrected_at,
    'action ' || cast(action_id as {{ text_type() }}) as load_id,
    row_number() over (partition by symbol, asset_class, kind, ex_date order by action_id desc) = 1 as is_latest
from {{ source('ops', 'manual_actions') }}
