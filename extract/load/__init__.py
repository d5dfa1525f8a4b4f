"""From an answer to a raw row: its checks, the dlt pipeline that commits it once, and what a run got."""
