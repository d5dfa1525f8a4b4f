"""`market run` and `market schedule`: extract, dbt build, alerts, metrics, site, as one run on record."""
