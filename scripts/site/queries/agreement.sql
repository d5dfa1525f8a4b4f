-- Every pair of sources, those that differ most on top.
select
    source,
    other_source,
    resampled_from,
    asset_class,
    compared_values,
    differing_values,
    values_against_consensus,
    median_difference_bp,
    max_difference_bp,
    basis
from marts.source_agreement
order by cast(differing_values as numeric) / compared_values desc, source, other_source, resampled_from, asset_class
