{{ config(materialized='view') }}
-- The list of features for readers outside dbt (API, site, demo, leakage check): a row for each column of market_data_v2
-- whose contract has `meta.feature`, group by group, groups in the order of their first column.
with

final as (
    {% for feature in features_by_group() -%}
    select
        {{ literal(feature.name, 'varchar(63)') }} as feature,
        {{ loop.index }} as place,
        {{ literal(feature.group, 'varchar(20)') }} as feature_group,
        {{ literal(feature.unit, 'varchar(10)') }} as unit,
        {{ literal(feature.asset_class, 'varchar(10)') }} as asset_class,
        {{ literal(feature.longest_step_minutes, 'integer') }} as longest_step_minutes,
        {{ literal((feature.possible or [none, none])[0], 'numeric(28, 8)') }} as lowest,
        {{ literal((feature.possible or [none, none])[1], 'numeric(28, 8)') }} as highest,
        {{ literal(tojson(feature), text_type()) }} as entry
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
)

select * from final
