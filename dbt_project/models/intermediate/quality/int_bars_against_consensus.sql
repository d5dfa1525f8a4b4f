{{
    config(
        materialized='incremental',
        unique_key=['series_id', 'opened_at'],
        incremental_strategy='merge',
        indexes=[{'columns': ['series_id', 'opened_at'], 'unique': true}],
        post_hook=["{{ advance_watermark([ref('int_bar_revisions')]) }}", '{{ analyze() }}']
    )
}}
{%- set since = watermark('int_bars_against_consensus') %}
-- depends_on: {{ ref('int_bar_revisions') }}
-- depends_on: {{ ref('int_series_fingerprints') }}
-- depends_on: {{ ref('int_splits') }}
-- depends_on: {{ ref('int_price_bases') }}
-- The bars on which two sources agree with each other against the one that supplies the bar, and in which fields. Only
-- bars of which three sources have a usable observation can be such. Bars with a new observation since are classified
-- again, and all bars of a series whose rules or splits changed. One that agrees with the consensus again stays, without fields.
with

{% if is_incremental() -%}
changed as (
    select series_id, opened_at
    from {{ changed_bars(since) }}
    union
    -- A bar that no longer exists, since its sessions were corrected, has no observation left.
    select existing.series_id, existing.opened_at
    from {{ this }} as existing
    inner join {{ ref('int_series_fingerprints') }} as rules
        on rules.series_id = existing.series_id and rules.changed_in_batch > {{ since }}
),

reported as (
    select
        changed.series_id,
        changed.opened_at,
        revisions.source
    from changed
    inner join {{ ref('int_bar_revisions') }} as revisions
        on revisions.series_id = changed.series_id and revisions.opened_at = changed.opened_at
),
{%- else -%}
-- Most series have one or two sources: their bars need not be counted one by one.
sources_of_series as (
    select distinct series_id, source
    from {{ ref('int_bar_revisions') }}
),

crowded_series as (
    select series_id
    from sources_of_series
    group by series_id
    having count(*) > 2
),

reported as (
    select
        revisions.series_id,
        revisions.opened_at,
        revisions.source
    from crowded_series
    inner join {{ ref('int_bar_revisions') }} as revisions on revisions.series_id = crowded_series.series_id
),
{%- endif %}

candidates as (
    select
        series_id,
        opened_at
    from reported
    group by series_id, opened_at
    having count(distinct source) > 2
),

newest as (
    select
        observations.series_id,
        observations.opened_at,
        observations.source,
        observations.source_rank,
        observations.open,
        observations.high,
        observations.low,
        observations.close,
        observations.is_retracted or observations.failed_checks is not null as is_unusable,
        row_number() over (
            partition by observations.series_id, observations.opened_at, observations.source order by observations.revision desc
        ) as age
    from {{ ref('int_bar_observations') }} as observations
    inner join candidates on candidates.series_id = observations.series_id and candidates.opened_at = observations.opened_at
),

usable as (
    select
        newest.*,
        series.asset_class,
        quotes.currency,
        row_number() over (
            partition by newest.series_id, newest.opened_at order by newest.source_rank
        ) as place
    from newest
    inner join {{ ref('int_series') }} as series on series.series_id = newest.series_id
    left join {{ ref('int_quote_currencies') }} as quotes
        on
            quotes.symbol = series.symbol
            and quotes.asset_class = series.asset_class
            and quotes.source = newest.source
    where newest.age = 1 and not newest.is_unusable
),

-- One row per bar, its observations side by side. Three providers: at most two against the first, whose values the bar has unless
-- somebody corrected it by hand.
bars as (
    select
        series_id,
        opened_at,
        max(case when place = 1 then source end) as source,
        {% for place in [1, 2, 3] -%}
        max(case when place = {{ place }} then currency end) as currency_{{ place }},
        {% for field in ['open', 'high', 'low', 'close'] -%}
        max(case when place = {{ place }} then {{ field }} end) as {{ field }}_{{ place }},
        {% endfor -%}
        {% endfor -%}
        max(asset_class) as asset_class
    from usable
    group by series_id, opened_at
    having max(place) >= 3 and max(case when place = 1 then source end) <> 'manual'
),

fields as (
    {% for field in ['open', 'high', 'low', 'close'] -%}
    select
        series_id,
        opened_at,
        source,
        asset_class,
        '{{ field }}' as field,
        {{ difference_bp(field ~ '_1', field ~ '_2') }} as one_differs_bp,
        {{ difference_bp(field ~ '_1', field ~ '_3') }} as another_differs_bp,
        {{ difference_bp(field ~ '_2', field ~ '_3') }} as they_differ_bp,
        case when currency_1 = currency_2 then 'same currency' else 'other currency' end as one_comparison,
        case when currency_1 = currency_3 then 'same currency' else 'other currency' end as another_comparison,
        case when currency_2 = currency_3 then 'same currency' else 'other currency' end as their_comparison
    from bars
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

against_consensus as (
    select
        fields.series_id,
        fields.opened_at,
        fields.source,
        {{ joined('fields.field', ', ', 'fields.field', distinct=true) }} as fields_against_consensus
    from fields
    {% for pair, comparison in {
        'one': 'one_comparison', 'another': 'another_comparison', 'their': 'their_comparison'
    }.items() -%}
    inner join {{ ref('reconciliation_tolerances') }} as {{ pair }}_tolerance
        on
            {{ pair }}_tolerance.comparison = fields.{{ comparison }}
            and {{ pair }}_tolerance.asset_class = fields.asset_class
            and {{ pair }}_tolerance.field = fields.field
    {% endfor -%}
    where
        abs(fields.one_differs_bp) > one_tolerance.tolerance_bp
        and abs(fields.another_differs_bp) > another_tolerance.tolerance_bp
        and abs(fields.they_differ_bp) <= their_tolerance.tolerance_bp
    group by fields.series_id, fields.opened_at, fields.source
),

classified as (
    select
        series_id,
        opened_at,
        cast(source as varchar(20)) as source,
        cast(fields_against_consensus as {{ text_type() }}) as fields_against_consensus
    from against_consensus

    {% if is_incremental() -%}
    union all

    select existing.series_id, existing.opened_at, existing.source, null
    from {{ this }} as existing
    inner join changed on changed.series_id = existing.series_id and changed.opened_at = existing.opened_at
    left join against_consensus
        on against_consensus.series_id = existing.series_id and against_consensus.opened_at = existing.opened_at
    where against_consensus.series_id is null and existing.fields_against_consensus is not null
    {%- endif %}
),

final as (
    select
        classified.*,
        cast({{ processed_by(['int_bar_revisions']) }} as integer) as changed_in_batch
    from classified
    {% if is_incremental() -%}
    {{ left_join_existing('classified', ['series_id', 'opened_at']) }}
    where {{ differs('classified', 'existing', 'series_id', ['source', 'fields_against_consensus']) }}
    {%- endif %}
)

select * from final
