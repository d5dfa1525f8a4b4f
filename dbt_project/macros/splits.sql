{# A base bar's price in the basis of the slot's last session; the usual case costs no division. #}
{% macro in_basis(price) -%}
    case when split_factor = slot_split_factor then {{ price }} else round({{ price }} * split_factor / slot_split_factor, 10) end
{%- endmacro %}
