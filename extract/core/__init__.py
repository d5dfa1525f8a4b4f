"""What every part of extract stands on: settings, the clock, the database and its locks, the log."""
