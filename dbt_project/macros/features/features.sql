{#-
  The one list of features: the columns of market_data_v2 that have `meta.feature` in its contract
  (models/marts/market_data/_market_data__models.yml). What a macro or model needs to know of a feature, it reads here; for
  readers outside dbt the same list is marts.feature_registry. While dbt parses there is no graph, and the list is empty.
-#}

{# The contract's columns of market_data_v2: name -> column; none where dbt has no graph. #}
{% macro columns_of_the_mart() -%}
    {{ return(graph.nodes['model.' ~ project_name ~ '.market_data.v2'].columns if execute and graph.nodes else {}) }}
{%- endmacro %}

{# The features in the contract's order: name -> its `meta.feature`, with name and data_type. One that does not say what
   every reader needs stops the build. #}
{% macro features() -%}
    {%- set found = {} -%}
    {%- for column in columns_of_the_mart().values() if column.config.meta.feature is defined -%}
        {%- set entry = column.config.meta.feature -%}
        {%- set known = [
            'group', 'unit', 'computed_as', 'asset_class', 'longest_step_minutes', 'possible', 'plausible', 'check',
            'words', 'stored_where', 'samples',
        ] -%}
        {%- set lacking = ['group', 'unit', 'computed_as'] | reject('in', entry) | list -%}
        {%- set unknown = entry | reject('in', known) | list -%}
        {%- if lacking or unknown -%}
            {{ exceptions.raise_compiler_error("feature " ~ column.name ~ " in _market_data__models.yml: meta.feature lacks " ~ (lacking | join(', ') or 'nothing') ~ "; it knows no " ~ (unknown | join(', ') or 'others')) }}
        {%- endif -%}
        {%- if entry.computed_as not in ['double', 'decimal', 'text'] or entry.unit not in ['fraction', 'price', 'volume', 'number', 'word'] -%}
            {{ exceptions.raise_compiler_error("feature " ~ column.name ~ ": computed_as is double, decimal or text; unit is fraction, price, volume, number or word") }}
        {%- endif -%}
        {%- do found.update({column.name: dict(entry, name=column.name, data_type=column.data_type)}) -%}
    {%- endfor -%}
    {#- dbt gives a unit test no graph: it reads what the build has just written. -#}
    {%- if execute and not graph.nodes -%}
        {%- for entry in run_query('select entry from ' ~ relation_of('feature_registry') ~ ' order by place').columns[0].values() -%}
            {%- set feature = fromjson(entry) -%}
            {%- do found.update({feature.name: feature}) -%}
        {%- endfor -%}
    {%- endif -%}
    {{ return(found) }}
{%- endmacro %}

{# The same as readers show them: group by group, groups in the order of their first column. #}
{% macro features_by_group() -%}
    {%- set ordered = [] -%}
    {%- for group in features().values() | map(attribute='group') | unique -%}
        {%- do ordered.extend(features().values() | selectattr('group', 'equalto', group)) -%}
    {%- endfor -%}
    {{ return(ordered) }}
{%- endmacro %}

{# The columns of the mart that say something of the bar, so that a row is another one when they differ: all but its key
   and the two that say when it was written. #}
{% macro compared_columns() -%}
    {{ return(columns_of_the_mart() | reject('in', ['id', 'computed_at', 'updated_at']) | list) }}
{%- endmacro %}

{# SQL, columns of a select: every feature in the type that the mart stores, NULL where that cannot hold it. #}
{% macro stored_features() -%}
    {%- for feature in features().values() %}
    {%- if feature.computed_as == 'text' -%}
        {%- set value = 'cast(' ~ feature.name ~ ' as ' ~ feature.data_type ~ ')' -%}
    {%- else -%}
        {%- set precision, digits = feature.data_type.removeprefix('numeric(').removesuffix(')').split(',') | map('int') -%}
        {%- if feature.computed_as == 'double' -%}
            {%- set value = decimal(feature.name, digits, precision) -%}
        {%- else -%}
            {%- set value = fits(feature.name, precision, digits) -%}
        {%- endif -%}
    {%- endif -%}
    {%- if feature.stored_where is defined -%}
        {#- The type once more: Postgres gives a case without `else` none of its digits. -#}
        {%- set value = 'cast(case when ' ~ feature.stored_where ~ ' then ' ~ value ~ ' end as ' ~ feature.data_type ~ ')' %}
    {%- endif %}
    {{ value | trim }} as {{ feature.name }}{{ ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}

{# SQL: a text, a number or nothing as a value of that type. #}
{% macro literal(value, data_type) -%}
    cast({{ "'" ~ value | replace("'", "''") ~ "'" if value is string else value if value is number else 'null' }} as {{ data_type }})
{%- endmacro %}

{# The condition under which a feature's value lies outside a range [from, to], either of which may be null. #}
{% macro outside_range(feature, range) -%}
    {%- set conditions = [] -%}
    {%- if range[0] is not none -%}{%- do conditions.append(feature ~ ' < ' ~ range[0]) -%}{%- endif -%}
    {%- if range[1] is not none -%}{%- do conditions.append(feature ~ ' > ' ~ range[1]) -%}{%- endif -%}
    {{ return(conditions | join(' or ')) }}
{%- endmacro %}

{# The invariants that the list of features sets for every row of the mart: name -> the condition that breaks it. Reads the seed
   timeframes, which its caller names in a depends_on. #}
{% macro feature_invariants() -%}
    {%- set invariants = {} -%}
    {%- for feature in features().values() -%}
        {%- if feature.possible is defined -%}
            {%- do invariants.update({feature.name ~ ' lies in its range': outside_range(feature.name, feature.possible)}) -%}
        {%- endif -%}
        {%- if feature.words is defined -%}
            {%- set known = "('" ~ feature.words | join("', '") ~ "')" -%}
            {%- do invariants.update({feature.name ~ ' is a known word': feature.name ~ ' not in ' ~ known}) -%}
        {%- endif -%}
        {%- if feature.longest_step_minutes is defined -%}
            {%- set longer -%}
                {{ feature.name }} is not null and timeframe in (
                    select longer.timeframe
                    from {{ ref('timeframes') }} as longer
                    where longer.step_minutes > {{ feature.longest_step_minutes }}
                )
            {%- endset -%}
            {%- do invariants.update({'no bar is too long for its ' ~ feature.name: longer}) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(invariants) }}
{%- endmacro %}

{# The features that a series can have: name -> the condition under which a row of the mart, which is joined to its
   series, lacks it. #}
{% macro lacking_features(bars, series) -%}
    {%- set lacking = {} -%}
    {%- for feature in features().values() -%}
        {%- set conditions = [] -%}
        {%- if feature.asset_class is defined -%}
            {%- do conditions.append(bars ~ ".asset_class = '" ~ feature.asset_class ~ "'") -%}
        {%- endif -%}
        {%- if feature.longest_step_minutes is defined -%}
            {%- do conditions.append(series ~ '.step_minutes <= ' ~ feature.longest_step_minutes) -%}
        {%- endif -%}
        {%- do conditions.append(bars ~ '.' ~ feature.name ~ ' is null') -%}
        {%- do lacking.update({feature.name: conditions | join(' and ')}) -%}
    {%- endfor -%}
    {{ return(lacking) }}
{%- endmacro %}

{# Post-hook of models that have features besides the mart: copies the descriptions of its contract. #}
{% macro describe_features() %}{{ return(adapter.dispatch('describe_features', 'market_warehouse')()) }}{% endmacro %}
{% macro default__describe_features() %}{% endmacro %}
{% macro postgres__describe_features() %}
    {%- if execute and config.persist_column_docs() -%}
        {%- set described = {} -%}
        {%- for feature in features() -%}
            {%- do described.update({feature: columns_of_the_mart()[feature]}) -%}
        {%- endfor -%}
        {{ alter_column_comment(this, described) }}
    {%- endif -%}
{% endmacro %}
