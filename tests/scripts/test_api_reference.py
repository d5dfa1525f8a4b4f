"""The examples of ENRICHMENT_API_REFERENCE.md, asked of a real server."""

from __future__ import annotations

import json
import re

import pytest

from tests.scripts.conftest import ROOT, Served

REFERENCE = (ROOT / "docs" / "use" / "ENRICHMENT_API_REFERENCE.md").read_text()
EXAMPLES = re.findall(
    r"<!-- example -->\n```\ncurl 'http://127\.0\.0\.1:8000([^']+)'\n```\n```\n(.*?)```", REFERENCE, re.DOTALL
)


@pytest.mark.parametrize(("address", "told"), EXAMPLES, ids=[address for address, _ in EXAMPLES])
def test_an_example_is_answered_as_told(served: Served, address: str, told: str) -> None:
    answer = served.get(address)
    assert answer.status_code == 200
    if "format=csv" in address:
        assert answer.text.splitlines()[0] == told.splitlines()[0]
        return
    # Left out in the text: an object, a list, more of the same.
    shape = json.loads(told.replace(", …", "").replace("…", ""))
    assert set(answer.json()) == set(shape)
    assert {name: type(value) for name, value in shape.items() if value is not None}.items() <= {
        name: type(value) for name, value in answer.json().items()
    }.items()


def test_every_route_is_in_the_reference(served: Served) -> None:
    for path, methods in served.get("/openapi.json").json()["paths"].items():
        for method in methods:
            assert f"{method.upper()} {path}" in REFERENCE, path


def test_the_page_of_the_api_lists_every_route_and_asks_nobody_else(served: Served) -> None:
    page = served.get("/docs").text
    for path in served.get("/openapi.json").json()["paths"]:
        assert path in page
    assert "://" not in page.replace("http://127.0.0.1", "")
    # In the dress of the site, which it carries itself.
    assert (ROOT / "scripts" / "site" / "assets" / "site.css").read_text() in page
    assert '<header class="top">' in page
