"""The dlt side: asks the providers and lands their answers in the raw schemas. Never imports dbt."""
