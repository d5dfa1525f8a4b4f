"""What all of Polygon's endpoints answer alike: errors, limits, cursors of pages."""

from __future__ import annotations

import base64
import hashlib

from scripts.simulator.world import Call, Reply, World

UPGRADE = "Please upgrade your plan at https://polygon.io/pricing"
TOO_MANY = (
    "You've exceeded the maximum requests per minute, please wait or upgrade your subscription to continue. "
    "https://polygon.io/pricing"
)
MESSAGES = {
    403: f"Your plan doesn't include this data timeframe. {UPGRADE}",
    404: "Not found.",
    429: TOO_MANY,
    401: "Unknown API Key",
}


def error(status: int, message: str | None = None) -> Reply:
    """An error body: 403 says ``message``, the others ``error``."""
    text = message or MESSAGES.get(status, "Internal server error")
    if status == 403:
        return Reply.json(status, {"status": "NOT_AUTHORIZED", "request_id": request_id(text), "message": text})
    return Reply.json(status, {"status": "ERROR", "request_id": request_id(text), "error": text})


def request_id(*parts: object) -> str:
    """32 hexadecimal digits; the same request has the same id, so that recorded runs compare."""
    return hashlib.md5("|".join(map(str, parts)).encode(), usedforsecurity=False).hexdigest()


def admit(world: World, call: Call) -> Reply | None:
    """Key and rate limit, as checked before any endpoint."""
    bearer = call.headers.get("Authorization", "")
    key = bearer.removeprefix("Bearer ") if bearer.startswith("Bearer ") else call.query.get("apiKey", "")
    if not key:
        return error(401, "API Key was not provided")
    if key not in world.polygon_keys:
        return error(401, "Unknown API Key")
    if not world.polygon_budget.spend(1):
        return error(429)
    return None


def decoded(cursor: str) -> str:
    return base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
