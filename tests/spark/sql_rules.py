"""What Spark 3.5 refuses or takes for something else in SQL that Postgres takes, and that a lenient parser lets pass."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import sqlglot
from sqlglot import exp

# Pattern -> what it does there.
REFUSED = {
    re.compile(r"\bas (text|jsonb?|timestamptz|double precision|timestamp with(out)? time zone)\b", re.I): "no such type",
    re.compile(r"\b(timestamp|time) with(out)? time zone '", re.I): "no such literal",
    re.compile(r"\bas (numeric|decimal)\s*\)", re.I): "a decimal without digits is decimal(10, 0)",
    re.compile(r"::"): "no such cast",
    re.compile(r"\bover\s+[a-z_]\w*\s*-\s*[a-z_]", re.I): "a name of a window with a hyphen in it: put it in parentheses",
    re.compile(r"\bextract\s*\(\s*(epoch|isodow)\b", re.I): "no such field",
    re.compile(r"\bat time zone\b", re.I): "no such operator",
    re.compile(r"\b(clock_timestamp|num_nonnulls|string_agg|jsonb?_\w+|to_jsonb|to_char)\s*\(", re.I): "no such function",
    re.compile(r"\bdelete from [^;]*?\busing\b", re.I | re.S): "no such statement: MERGE",
}  # fmt: skip
# Functions of Spark that sqlglot does not know.
KNOWN = {
    "btrim", "conv", "from_json", "make_dt_interval", "map_values", "named_struct", "rint", "timestamp_micros",
    "timestamp_millis", "timestamp_seconds", "weekday",
}  # fmt: skip
COMMENTS = re.compile(r"--[^\n]*|/\*.*?\*/", re.S)


def violations(compiled: Mapping[str, str]) -> Iterator[str]:
    """What is not SQL of Spark in compiled models (name -> SQL), a line each."""
    for name, text in compiled.items():
        try:
            tree = sqlglot.parse_one(text, dialect="spark")
        except sqlglot.ParseError as error:
            yield f"{name}: {error}"
            continue
        for call in tree.find_all(exp.Anonymous):
            if call.name.lower() not in KNOWN:
                yield f"{name} calls {call.name}(), which is no known function of Spark"
        code = COMMENTS.sub("", text)
        for pattern, why in REFUSED.items():
            if found := pattern.search(code):
                yield f"{name}: {found.group()[:60]!r}: {why}"
