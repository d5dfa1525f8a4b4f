"""The HTTP API: each answer is one select on marts whose JSON Postgres writes; Python checks the question.

Data flow: request -> checked parameters -> queries.py -> marts -> bytes. It never writes; the trigger starts a process.
"""
