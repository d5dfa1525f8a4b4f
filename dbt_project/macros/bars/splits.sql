{# A base bar's price in the basis of the last session of the resampled bar; the usual case costs no division. #}
{% macro in_basis(price) -%}
    case when split_factor = target_split_factor then {{ price }} else round({{ price }} * split_factor / target_split_factor, 10) end
{%- endmacro %}

{# A source's price as traded: Yahoo's adjustment for later splits undone, and for stocks the single-precision noise of
   its numbers (6e-8 of them at most) rounded away, but none of the digits before it: a share may cost 0.0000123. NULL
   where that fits no price: the bar fails the check for it. #}
{% macro as_traded_price(price) -%}
    case
        when (adjustment > 1 or abs({{ price }}) > 999999999) and abs({{ price }}) * adjustment >= 999999999.99995 then null
        when {{ is_adjusted_by_source() }} then round({{ price }} * adjustment, case
            {%- for least in ['80', '8', '0.8', '0.08', '0.008', '0.0008'] %}
            when abs({{ price }}) * adjustment >= {{ least }} then {{ 3 + loop.index }}
            {%- endfor %}
            else 10
        end)
        when adjustment = 1 then {{ price }}
        else {{ price }} * adjustment
    end
{%- endmacro %}

{# A price or a volume of a bar in one basis over all splits. Splits are rare: the usual bar is spared the arithmetic. #}
{% macro continuous_price(price) -%}
    case when split_factor = 1 then {{ price }} else {{ price }} * split_factor end
{%- endmacro %}
{% macro continuous_volume(volume) -%}
    case when split_factor = 1 then {{ volume }} else round({{ volume }} / split_factor, 8) end
{%- endmacro %}

{# Condition: a bar had been reported in this form when an answer was given; or_with=false: before it. #}
{% macro was_observed_by(bar, answer, or_with=true) -%}
    (
        {{ bar }}.batch < {{ answer }}.batch
        or (
            {{ bar }}.batch = {{ answer }}.batch
            and {{ bar }}.fetched_at {{ '<=' if or_with else '<' }} {{ answer }}.fetched_at
        )
    )
{%- endmacro %}

{# Condition: as traded, too, a price of Yahoo's has more digits than are stored (is_price_too_fine says it of others). #}
{% macro is_finer_as_traded() -%}
    {{ is_adjusted_by_source() }}
    and least(abs(open), abs(high), abs(low), abs(close)) * adjustment < 0.00005
    and (
        {%- for price in ['open', 'high', 'low', 'close'] %}
        {{ 'or ' if not loop.first -}}
        abs(round({{ price }} * adjustment, 10) - {{ price }} * adjustment) > abs({{ price }}) * adjustment * 0.000001
        {%- endfor %}
    )
{%- endmacro %}

{# A result of windows over continuous prices, in the basis of its own bar; the usual case costs no division. #}
{% macro in_own_basis(expression) -%}
    case when split_factor = 1 then {{ expression }} else {{ expression }} / split_factor end
{%- endmacro %}

{# The same of a result of windows over continuous volumes. #}
{% macro volume_in_own_basis(expression) -%}
    case when split_factor = 1 then {{ expression }} else {{ expression }} * split_factor end
{%- endmacro %}
