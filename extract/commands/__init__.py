"""What `market` starts of this side: extract, backfill, doctor, unblock, collect-liquidations, the look-up of `add`."""
