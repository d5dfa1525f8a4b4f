{{ config(materialized='view') }}
-- When each incremental model last worked, written in the model's own transaction: while no row here differs, no answer
-- from the marts does. All rows count, not the newest: models commit in another order than they stamp.
select
    model,
    advanced_at as updated_at
from {{ ref('stg_ops__watermarks') }}
