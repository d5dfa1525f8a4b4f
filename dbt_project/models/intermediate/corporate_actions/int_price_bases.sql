{{ config(materialized='view') }}
-- What the prices of an answer are multiplied by to be as traded, of each source that adjusts its prices for later splits.
-- How that is found out differs by source: models/intermediate/<source>/int_<source>_bases.
{% for source in sources('adjusts_for_splits') %}
select
    '{{ source }}' as source,
    series_id,
    batch,
    fetched_at,
    first_session,
    next_first_session,
    adjustment,
    is_adjusted_next,
    basis_problem,
    unclear_ex_date,
    changed_in_batch
from {{ ref('int_' ~ source ~ '_bases') }}
{% if not loop.last %}union all{% endif %}
{% endfor %}
