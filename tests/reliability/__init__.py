"""Campaigns: what the warehouse promises under faults, tried with as many seeds as there is time for.

`python -m tests.reliability kills --seeds 1-200` plays them, `make torture` all campaigns one after the other; what is
promised and which campaign proves it: docs/develop/reliability.md.
"""
