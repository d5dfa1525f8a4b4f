"""Time: bar lengths, exchange calendars, and arithmetic on windows. Knows no provider and no database."""
