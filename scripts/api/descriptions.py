"""What OpenAPI says of the routes, and how each of them answers and refuses."""

from __future__ import annotations

from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from extract.core.redaction import redact
from scripts.api import answers
from scripts.api.examples import EXAMPLES


def json_answer(text: str, headers: dict[str, str] | None = None) -> Response:
    """An answer that is JSON already, put together by Postgres; nobody may keep it unless its headers say so."""
    return Response(text.encode(), media_type="application/json", headers=headers or {"Cache-Control": "no-store"})


async def refuse_input(request: Request, error: Exception) -> Response:
    """422, with a sentence instead of a list of lists."""
    assert isinstance(error, RequestValidationError)
    problems = "; ".join(f"{item['loc'][-1]}: {item['msg'][:1].lower()}{item['msg'][1:]}" for item in error.errors())
    return JSONResponse({"detail": problems}, 422)


async def refuse(request: Request, error: Exception) -> Response:
    """What an HTTPException says, without secrets."""
    assert isinstance(error, StarletteHTTPException)
    return JSONResponse({"detail": redact(str(error.detail))}, error.status_code, headers=error.headers)


async def unexpected(request: Request, error: Exception) -> Response:
    """500: what went wrong is in the log, and not for strangers."""
    return JSONResponse({"detail": "unexpected error; the server's log has it"}, 500)


UNREADABLE: dict[str, Any] = {"model": answers.Problem, "description": "The warehouse cannot be read now"}

PROBLEMS: dict[int, str] = {
    304: "The answer you have is the current one",
    401: "No token, or a wrong one",
    403: "The server has no API_TOKEN: triggering is switched off",
    404: "There is no such symbol or series, or nothing is known of it at as_of, or as total return",
    409: "A run is under way",
    422: "A parameter is wrong; the message says which",
}


def documented(name: str, model: type[answers.Answer], *problems: int, code: int = 200) -> dict[str, Any]:
    """What OpenAPI says of a route beyond its parameters."""
    success: dict[str, Any] = {"model": model, "description": "The run has begun" if code == 202 else "The answer"}
    success["content"] = {"application/json": {}}
    if name in EXAMPLES:
        success["content"] = {"application/json": {"example": EXAMPLES[name]}}
    if name in ("data", "many"):
        success["content"] |= {"text/csv": {"schema": {"type": "string"}}}
        success["content"] |= {"application/vnd.apache.parquet": {"schema": {"type": "string", "format": "binary"}}}
    if name in ("data", "many", "quality"):
        success["headers"] = {
            "ETag": {"description": "send it as If-None-Match", "schema": {"type": "string"}},
            "X-Data-Age-Seconds": {"description": answers.AGE, "schema": {"type": "string"}},
            "X-Is-Stale": {"description": answers.STALE, "schema": {"type": "string", "enum": ["true", "false"]}},
        }
    others: dict[int, Any] = {503: UNREADABLE}
    for problem in problems:
        others[problem] = {"description": PROBLEMS[problem]} | ({} if problem == 304 else {"model": answers.Problem})
    if 404 in others or 422 in problems:
        others.setdefault(422, {"description": PROBLEMS[422], "model": answers.Problem})
    return {"responses": {code: success, **others}}
