"""What a browser sees: the dashboard in site/, the page of this API, and a short notice where there is no dashboard yet."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup
from starlette.routing import Match

from extract.core import settings

# The site's: its style sheet and its icon.
ASSETS = Path(__file__).resolve().parent.parent / "site" / "assets"

_templates = Environment(loader=PackageLoader("scripts.api"), autoescape=select_autoescape())
_templates.policies["json.dumps_kwargs"] = {"sort_keys": False, "ensure_ascii": False}


def add_to(app: FastAPI) -> None:
    """Add the pages, after all other routes: the dashboard's files answer to every path that is left."""
    directory = settings.project_directory() / "site"
    files = StaticFiles(directory=directory, html=True, check_dir=False)

    @app.get("/docs", include_in_schema=False)
    def documentation() -> Response:
        # In the page itself: it is there before `make site` has written any file.
        page = _templates.get_template("docs.html").render(
            api=app.openapi(), dress=Markup((ASSETS / "site.css").read_text()), icon=(ASSETS / "icon.svg").read_text()
        )
        return HTMLResponse(page)

    # A route, not a mount: a mount would answer to every method of every path of the API, too.
    @app.api_route("/{path:path}", methods=["GET", "HEAD"], include_in_schema=False)
    async def page(request: Request, path: str) -> Response:
        # This route takes every GET, so also those to addresses that know other methods only.
        allowed = [route for route in app.routes if route.matches(request.scope)[0] is Match.PARTIAL]
        if allowed:
            methods = sorted({method for route in allowed for method in getattr(route, "methods", ())})
            raise HTTPException(405, "this address takes no GET", {"Allow": ", ".join(methods)})
        if path.startswith("api/"):
            raise HTTPException(404, "there is no such address; /docs lists all")
        if not directory.is_dir():
            if path:
                raise HTTPException(404, "there is no such address; /docs lists all")
            return HTMLResponse(_templates.get_template("no_site.html").render(), 404)
        return await files.get_response(path or ".", request.scope)
