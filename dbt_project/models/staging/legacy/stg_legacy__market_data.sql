-- depends_on: {{ source('legacy', 'market_data') }}
-- The daily bars of the old system's table; empty where there is none, so that everything builds without it. Rows that
-- we wrote ourselves (dual write, rollback) are marked.
{%- set old = old_table() %}
with

bars as (
    {% if old is not none -%}
    select
        id,
        symbol,
        time,
        {{ local_date('time', "'UTC'") }} as day,
        open,
        high,
        low,
        close,
        volume,
        source,
        coalesce(validation_notes like '%{{ written_by_us() }}%', false) as is_written_by_us
    from {{ old }}
    where timeframe = '1d'
    {%- else -%}
    select
        cast(null as bigint) as id,
        cast(null as varchar(20)) as symbol,
        cast(null as timestamp with time zone) as time,
        cast(null as date) as day,
        cast(null as numeric(19, 8)) as open,
        cast(null as numeric(19, 8)) as high,
        cast(null as numeric(19, 8)) as low,
        cast(null as numeric(19, 8)) as close,
        cast(null as bigint) as volume,
        cast(null as varchar(20)) as source,
        cast(null as boolean) as is_written_by_us
    where false
    {%- endif %}
)

select * from bars
