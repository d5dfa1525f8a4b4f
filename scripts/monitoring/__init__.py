"""What tells people and machines how the warehouse is: alerts and metrics."""
