{# Condition: the registry lists the asset of `series` (int_series) on that date. Only a series that was listed nowhere for
   a while in between is looked up row by row. #}
{% macro is_listed_on(date) -%}
    (
        (series.active_from is null or {{ date }} >= series.active_from)
        and (series.active_to is null or {{ date }} <= series.active_to)
        and (
            series.has_pause is not true
            or exists (
                select 1
                from {{ ref('assets') }} as listings
                where
                    listings.symbol = series.symbol
                    and listings.asset_class = series.asset_class
                    and {{ date }} >= coalesce(listings.active_from, date '0001-01-01')
                    and {{ date }} <= coalesce(listings.active_to, date '9999-12-31')
            )
        )
    )
{%- endmacro %}
