"""No route takes a body: one that is sent all the same is refused before it is read, and its connection closed."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

# What a client may send by habit ({} as JSON) is ignored.
LARGEST_BODY = 10_000


class NoBodies:
    """Answers 413 to a body that is large, or that does not say how large it is. Without it a client could keep the
    server reading for as long as it likes: what comes after an answer is read, and thrown away."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            # The server has refused what is no number.
            if "transfer-encoding" in headers or int(headers.get("content-length", "0")) > LARGEST_BODY:
                refusal = JSONResponse({"detail": "no route takes a body"}, 413, {"Connection": "close"})
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)
