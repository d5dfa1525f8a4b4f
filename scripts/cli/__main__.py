"""`python -m scripts.cli`: the `market` command by the interpreter that runs it."""

from scripts.cli import app

app()
