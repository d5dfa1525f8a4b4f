"""What people decide over the sources: corrected bars, splits set by hand, loads in quarantine."""
