"""Independent references for the warehouse: written from the specification alone, never from the SQL they judge."""
