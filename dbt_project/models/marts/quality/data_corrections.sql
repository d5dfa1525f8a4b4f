{%- set prices = ['open', 'high', 'low', 'close', 'volume', 'taker_buy_volume', 'split_factor'] -%}
{#- Samples that come after the bar fill a NULL: that is no correction. -#}
{%- set samples = ['open_interest', 'funding_rate', 'liquidations_long', 'liquidations_short'] -%}
{%- set texts = features().values() | selectattr('computed_as', 'equalto', 'text') | map(attribute='name') | list -%}
{#- What a revision may change beyond its values. -#}
{%- set verdicts = ['revision', 'is_validated', 'source'] -%}
{#- Of a bar that was held back: nothing came but a split, set or struck by hand, and now it is valid. A bar that a source
    retracts becomes invalid, so it is none of these. -#}
{%- set is_released_by_hand = (
    "is_validated and is_same_answer and reason = 'source_updated' and split_set_by is not null"
) -%}
{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        indexes=[
            {'columns': ['id'], 'unique': true},
            {'columns': ['original_record_id']},
        ],
        post_hook=[
            '{{ delete_corrections_of_deleted_bars() }}',
            "{{ advance_watermark([ref('market_data_history')], stamp=last_written_at('market_data_history')) }}",
        ]
    )
}}
-- One row per corrected field of a bar: what it was, what it became, why, by whom, and when the warehouse changed it; each
-- revision has at least one. A retracted bar keeps its values: its row says that is_validated fell from 1 to 0. Read
-- off consecutive versions in the history, so what the mart contained and what is recorded of it cannot disagree, and the
-- cost follows the number of changes.
with

history as (
    select * from {{ ref('market_data_history') }}
),

-- An amended volume rewrites the features of fifty bars: only those whose own values differ go on (5,000 of 346,000
-- versions when 1 % of the bars are amended; with all of them the model took 51 s, since then 7 s for 433,000).
amended_bars as (
    select distinct later.id
    from {{ ref('market_data_history') }} as later
    inner join {{ ref('market_data_history') }} as earlier
        on earlier.id = later.id and earlier.dbt_valid_from < later.dbt_valid_from
    left join ops.rebuilds as rebuilds on rebuilds.written_at = later.dbt_valid_from
    where
        later.dbt_valid_from > {{ read_up_to('data_corrections') }}
        and earlier.dbt_valid_to is not null
        and (rebuilds.written_at is not null or {{ differs('later', 'earlier', 'id', prices + samples + verdicts) }})
),

versions as (
    select
        history.*,
        lag(history.id) over in_order as earlier_id,
        {% for field in prices + samples + features() | list -%}
        lag(history.{{ field }}) over in_order as earlier_{{ field }},
        {% endfor -%}
        lag(history.dbt_valid_from) over in_order as earlier_valid_from,
        lag(history.fetched_at) over in_order as earlier_fetched_at,
        lag(history.source) over in_order as earlier_source,
        lag(history.revision) over in_order as earlier_revision,
        lag(history.is_validated) over in_order as earlier_is_validated,
        {{ notes_a_failed_row_check("coalesce(history.validation_notes, '')") }} as fails_row_check,
        lag({{ notes_a_failed_row_check("coalesce(history.validation_notes, '')") }}) over in_order as earlier_fails_row_check
    from history
    inner join amended_bars on amended_bars.id = history.id
    window in_order as (partition by history.id order by history.dbt_valid_from)
),

-- What a source reported otherwise of a split that it had reported, and what was set, struck or given back by hand.
split_changes as (
    select
        provider_symbols.symbol,
        provider_symbols.asset_class,
        observations.fetched_at as changed_at,
        cast(null as text) as corrected_by
    from {{ ref('int_action_observations') }} as observations
    inner join {{ ref('int_provider_symbols') }} as provider_symbols
        on
            provider_symbols.used_for = 'bars'
            and provider_symbols.source = observations.source
            and provider_symbols.provider_symbol = observations.ticker
    where observations.kind = 'split' and observations.observation_no > 1
    union all
    select
        symbol,
        asset_class,
        corrected_at as changed_at,
        corrected_by
    from {{ ref('stg_ops__manual_actions') }}
    where kind = 'split'
),

splits_between as (
    select
        as_of_times.symbol,
        as_of_times.asset_class,
        as_of_times.earlier_valid_from,
        as_of_times.dbt_valid_from,
        count(*) as changes,
        max(split_changes.corrected_by) as corrected_by
    from (
        select distinct symbol, asset_class, earlier_valid_from, dbt_valid_from
        from versions
        where earlier_id is not null and (split_factor <> earlier_split_factor or fetched_at = earlier_fetched_at)
    ) as as_of_times
    inner join split_changes
        on
            split_changes.symbol = as_of_times.symbol
            and split_changes.asset_class = as_of_times.asset_class
            and split_changes.changed_at > as_of_times.earlier_valid_from
            and split_changes.changed_at <= as_of_times.dbt_valid_from
    group by as_of_times.symbol, as_of_times.asset_class, as_of_times.earlier_valid_from, as_of_times.dbt_valid_from
),

reasoned as (
    select
        versions.*,
        rebuilds.features as rebuilt_features,
        quarantines.changed_by as quarantined_by,
        case
            when quarantines.changed_by is null and splits.corrected_by is not null then splits.corrected_by
        end as split_set_by,
        -- A split that nobody had reported before came late.
        case
            when quarantines.changed_by is not null or splits.corrected_by is not null then 'manual_correction'
            when splits.changes > 0 then 'source_updated'
            else 'late_data'
        end as split_reason,
        -- No other answer: an adjusted one is read in another basis, for what is known of splits now.
        versions.source = versions.earlier_source and versions.fetched_at = versions.earlier_fetched_at as is_same_answer,
        case
            when quarantines.changed_by is not null then 'manual_correction'
            when versions.source like '%manual%' or versions.earlier_source like '%manual%' then 'manual_correction'
            -- The source reported no change: the bar is made by other rules.
            when rebuilds.written_at is not null and versions.revision = versions.earlier_revision then 'bug_fix'
            when versions.source <> versions.earlier_source then 'source_changed'
            -- Of a resampled bar: none of its base bars was amended between the two, they came late.
            when parts.parts_amended = earlier_parts.parts_amended then 'late_data'
            else 'source_updated'
        end as reason
    from versions
    left join ops.rebuilds as rebuilds on rebuilds.written_at = versions.dbt_valid_from
    left join {{ ref('int_series') }} as series
        on
            series.symbol = versions.symbol
            and series.asset_class = versions.asset_class
            and series.timeframe = versions.timeframe
    {% for parts, row in {'parts': '', 'earlier_parts': 'earlier_'}.items() -%}
    -- The newest version of the resampled bar that has the row's values.
    left join lateral (
        select replayed.parts_amended
        from {{ ref('int_resampled_versions') }} as replayed
        where
            replayed.series_id = series.series_id
            and replayed.opened_at = versions.timestamp
            {% for field in ['source', 'open', 'high', 'low', 'close', 'volume', 'taker_buy_volume'] -%}
            and replayed.{{ field }} is not distinct from versions.{{ row }}{{ field }}
            {% endfor -%}
            and versions.validation_notes like '%resampled from%'
        order by replayed.revision desc
        limit 1
    ) as {{ parts }} on true
    {% endfor -%}
    left join splits_between as splits
        on
            splits.symbol = versions.symbol
            and splits.asset_class = versions.asset_class
            and splits.earlier_valid_from = versions.earlier_valid_from
            and splits.dbt_valid_from = versions.dbt_valid_from
    left join lateral (
        select max(moved.changed_by) as changed_by
        from {{ ref('stg_ops__processed_quarantines') }} as moved
        where
            moved.written_at = versions.dbt_valid_from
            and (moved.symbols is null or {{ position_in_list('versions.symbol', 'moved.symbols') }} is not null)
    ) as quarantines on true
    where versions.earlier_id is not null
),

fields as (
    {% for field in prices + samples -%}
    select
        id,
        dbt_valid_from,
        revision,
        source,
        '{{ field }}' as field_corrected,
        earlier_{{ field }} as old_value,
        {{ field }} as new_value,
        {% if field in samples -%}
        -- The newest sample before the close was another one when the bar was first made.
        case when quarantined_by is not null then reason else 'late_data' end as reason,
        {%- elif field == 'split_factor' -%}
        split_reason as reason,
        {%- else -%}
        -- What was not known before came late, if nobody else says it.
        case
            when reason = 'source_updated' and earlier_{{ field }} is null then 'late_data'
            when reason = 'source_updated' and is_same_answer then split_reason
            else reason
        end as reason,
        {%- endif %}
        {% if field in samples -%}
        quarantined_by as corrected_by
        {%- elif field == 'split_factor' -%}
        coalesce(quarantined_by, split_set_by) as corrected_by
        {%- else -%}
        coalesce(quarantined_by, case when reason = 'source_updated' and is_same_answer then split_set_by end) as corrected_by
        {%- endif %}
    from reasoned
    where {{ field }} is distinct from earlier_{{ field }}{% if field in samples %} and earlier_{{ field }} is not null{% endif %}

    union all
    {% endfor -%}
    select
        id,
        dbt_valid_from,
        revision,
        source,
        'is_validated',
        case when earlier_is_validated then 1.0 else 0.0 end,
        case when is_validated then 1.0 else 0.0 end,
        case when {{ is_released_by_hand }} then 'manual_correction' else reason end,
        case when {{ is_released_by_hand }} then split_set_by else quarantined_by end
    from reasoned
    where
        is_validated <> earlier_is_validated
        -- Without a revision a verdict changes when a neighbour was amended: a return is no longer possible. When a
        -- setting changed, nothing was corrected.
        and (
            revision <> earlier_revision
            or rebuilt_features is not null
            or fails_row_check <> earlier_fails_row_check
            or {{ is_released_by_hand }}
        )

    union all

    -- Texts are in the history. Without another row it is the verdict's reason that changed.
    select
        id,
        dbt_valid_from,
        revision,
        source,
        case when source <> earlier_source then 'source' else 'validation_notes' end,
        null,
        null,
        reason,
        quarantined_by
    from reasoned
    where
        source <> earlier_source
        or (
            revision <> earlier_revision
            and rebuilt_features is null
            and is_validated = earlier_is_validated
            {%- for field in prices %}
            and {{ field }} is not distinct from earlier_{{ field }}
            {%- endfor %}
        )

    union all

    {% for feature in features() -%}
    select
        id,
        dbt_valid_from,
        revision,
        source,
        '{{ feature }}',
        {{ 'cast(null as numeric)' if feature in texts else 'earlier_' ~ feature }},
        {{ 'cast(null as numeric)' if feature in texts else feature }},
        {% if feature in texts -%}
        'bug_fix: ' || coalesce(earlier_{{ feature }}, 'NULL') || ' -> ' || coalesce({{ feature }}, 'NULL'),
        {%- else -%}
        'bug_fix',
        {%- endif %}
        'rebuild'
    from reasoned
    where
        {{ position_in_list("'" ~ feature ~ "'", 'rebuilt_features') }} is not null
        and {{ feature }} is distinct from earlier_{{ feature }}
    {% if not loop.last %}
    union all
    {% endif -%}
    {% endfor %}
),

-- The latest manual correction of the bar that the version can have processed.
signed as (
    select
        fields.*,
        manual.corrected_by as signed_by,
        row_number() over (
            partition by fields.id, fields.dbt_valid_from, fields.field_corrected
            order by manual.corrected_at desc nulls last, manual.correction_id desc
        ) as place
    from fields
    inner join {{ ref('market_data', v=2) }} as bars on bars.id = fields.id
    left join {{ ref('stg_ops__manual_corrections') }} as manual
        on
            fields.reason = 'manual_correction'
            and manual.symbol = bars.symbol
            and manual.asset_class = bars.asset_class
            and manual.timeframe = bars.timeframe
            and manual.opened_at = bars.timestamp
            and manual.corrected_at <= fields.dbt_valid_from
            and manual.is_withdrawal = (fields.source not like '%manual%')
),

final as (
    select
        {{ hash63(
            "signed.id || '|' || cast(extract(epoch from signed.dbt_valid_from) as text) || '|' || signed.field_corrected"
        ) }} as id,
        signed.id as original_record_id,
        cast(signed.field_corrected as varchar(50)) as field_corrected,
        {{ fits('signed.old_value', 28, 10) }} as old_value,
        {{ fits('signed.new_value', 28, 10) }} as new_value,
        cast(signed.reason as varchar(200)) as reason,
        cast(coalesce(
            signed.corrected_by,
            signed.signed_by,
            case when signed.reason = 'manual_correction' then 'manual' else signed.source end
        ) as varchar(100)) as corrected_by,
        signed.dbt_valid_from as correction_timestamp,
        signed.revision
    from signed
    where signed.place = 1
)

select final.*
from final
{% if is_incremental() -%}
{{ left_join_existing('final', ['id']) }}
where existing.id is null
{%- endif %}
