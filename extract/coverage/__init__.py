"""What is loaded, what was looked at in vain, and when to look again (docs/reference/coverage.md)."""
