"""Which requests to make: for what is new, for gaps, for a backfill."""
