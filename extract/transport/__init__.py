"""The one way to ask a source: budgets, circuit breaker, retries, deadlines and limits of bodies."""
