{#- What the staging views of every source look like to the models that join them: the one place that says so. The test
    assert_staging_views_are_alike compares each view of a source of the list with it. -#}

{# Columns and types of a kind of staging view, in any order. #}
{% macro staging_columns(kind) -%}
    {%- set when = 'timestamp with time zone' -%}
    {%- set answer = {'window_start': when, 'fetched_at': when, 'load_id': 'text'} -%}
    {%- set asset = {'symbol': 'text', 'asset_class': 'text'} -%}
    {%- set kinds = {
        'bars': dict(
            answer, **dict(
                asset, source='text', timeframe='text', opened_at=when, open='numeric', high='numeric', low='numeric',
                close='numeric', volume='numeric', taker_buy_volume='numeric', payload_row='jsonb', window_end=when,
                known_until=when, is_in_progress='boolean', payload_position='bigint'
            )
        ),
        'splits': dict(
            answer, source='text', ticker='text', ex_date='date', split_to='numeric', split_from='numeric', timeframe='text'
        ),
        'dividends': dict(
            answer, source='text', ticker='text', ex_date='date', dividend_type='text', amount='numeric', currency='text',
            timeframe='text'
        ),
        'action_answers': dict(
            answer, source='text', kind='text', ticker='text', reported_after='date', reported_before='date', timeframe='text'
        ),
        'rejected_rows': dict(
            answer, **dict(
                asset, source='text', kind='text', ticker='text', timeframe='text', timestamp=when, reject_reason='text',
                payload_row='jsonb'
            )
        ),
        'funding_rates': dict(
            asset, settled_at=when, funding_rate='numeric', interval_hours='integer', fetched_at=when, load_id='text'
        ),
        'open_interest': dict(answer, **dict(asset, sampled_at=when, period='text', origin='text', open_interest='numeric')),
        'long_short_ratios': dict(
            answer, **dict(
                asset, sampled_at=when, period='text', origin='text', long_account='numeric', short_account='numeric'
            )
        ),
        'liquidations': dict(
            asset, traded_at=when, side='text', quantity='numeric', average_price='numeric', load_id='text'
        ),
        'liquidation_watches': dict(asset, watched_from=when, watched_to=when, load_id='text'),
        'exchange_inflows': dict(asset, day='date', exchange_inflow='numeric', fetched_at=when, load_id='text'),
    } -%}
    {{ return(kinds[kind]) }}
{%- endmacro %}

{# The staging views of the sources of the list, each with its kind. #}
{% macro staging_views() -%}
    {%- set views = {} -%}
    {%- for traits in var('sources').values() -%}
        {%- for view in traits.get('bars', []) -%}
            {%- do views.update({view: 'bars'}) -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- for source in sources('actions') -%}
        {%- for kind in ['splits', 'dividends', 'action_answers'] -%}
            {%- do views.update({'stg_' ~ source ~ '__' ~ kind: kind}) -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- for source in sources_of('derivatives') -%}
        {%- for kind in ['funding_rates', 'open_interest', 'long_short_ratios', 'liquidations', 'liquidation_watches'] -%}
            {%- do views.update({'stg_' ~ source ~ '__' ~ kind: kind}) -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- for source in sources_of('exchange_inflow') -%}
        {%- do views.update({'stg_' ~ source ~ '__exchange_inflows': 'exchange_inflows'}) -%}
    {%- endfor -%}
    {%- for source in sources_of_rows() -%}
        {%- do views.update({'stg_' ~ source ~ '__rejected_rows': 'rejected_rows'}) -%}
    {%- endfor -%}
    {{ return(views) }}
{%- endmacro %}
