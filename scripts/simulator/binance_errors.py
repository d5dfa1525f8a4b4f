"""What Binance's hosts answer alike: errors, weights and limits, numbers that are none."""

from __future__ import annotations

from scripts.simulator.instruments import Grid
from scripts.simulator.world import Call, Reply, World

GRID = Grid()

BLOCKED = (
    "Service unavailable from a restricted location according to 'b. Eligibility' in https://www.binance.com/en/terms. "
    "Please contact customer service if you believe you received this message in error."
)


def error(status: int, message: str | None = None, code: int | None = None, retry_after: int | None = None) -> Reply:
    """`{"code":..,"msg":..}`; 429 and 418 carry Retry-After in seconds."""
    codes = {
        400: (-1100, "Illegal characters found in a parameter."),
        401: (-2014, "API-key format invalid."),
        403: (-1002, "You are not authorized to execute this request."),
        404: (-1000, "Not found."),
        418: (-1003, "Way too much request weight used; IP banned until 9999999999999. "
              "Please use WebSocket Streams for live updates to avoid bans."),
        429: (-1003, "Too much request weight used; current limit is 6000 request weight per 1 MINUTE. "
              "Please use WebSocket Streams for live updates to avoid polling the API."),
        451: (0, BLOCKED),
    }  # fmt: skip
    known_code, known_text = codes.get(status, (-1000, "An unknown error occurred while processing the request."))
    reply = Reply.json(status, {"code": known_code if code is None else code, "msg": message or known_text})
    if status in (418, 429) or retry_after is not None:
        reply.headers["Retry-After"] = str(60 if retry_after is None else retry_after)
    return reply


def limited(world: World, call: Call, weight: int, reply: Reply) -> Reply:
    """The answer with its weight headers, or 429 when the minute's budget is over."""
    if call.endpoint in ("funding", "funding_info"):
        budget = world.funding_budget
    elif call.path.startswith("/futures/data"):
        budget = world.ratio_budget
    else:
        budget = world.weights[call.provider]
    if not budget.spend(weight):
        reply = error(418 if budget.banned else 429, retry_after=budget.seconds_left())
    if budget.seconds == 60:  # the funding and futures/data pools have no x-mbx-* header
        used = str(budget.used if budget.limit else weight)
        reply.headers |= {"x-mbx-used-weight": used, "x-mbx-used-weight-1m": used}
    return reply


def integer(call: Call, name: str, default: int) -> int:
    text = call.query.get(name, "")
    return int(text) if text.lstrip("-").isdigit() else default
