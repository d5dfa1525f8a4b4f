"""What people and schedulers start: the `market` command, the embedded Postgres, the demo."""
