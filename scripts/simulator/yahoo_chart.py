"""Yahoo's chart: bars, events and what it says of a symbol."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import orjson

from scripts.simulator.bars import DAY, HOUR, MINUTE, Bars, Interval, date_of, local_midnight, to_local, to_utc
from scripts.simulator.calendar import CLOSES, OPENS
from scripts.simulator.faults import spoil_bars
from scripts.simulator.files import RecordedChart
from scripts.simulator.instruments import Grid, Instrument
from scripts.simulator.world import Call, Reply, World

INTERVALS = {
    "1m": (1, "minute"), "2m": (2, "minute"), "5m": (5, "minute"), "15m": (15, "minute"), "30m": (30, "minute"),
    "60m": (1, "hour"), "90m": (90, "minute"), "1h": (1, "hour"), "1d": (1, "day"), "5d": (5, "day"),
    "1wk": (1, "week"), "1mo": (1, "month"), "3mo": (1, "quarter"),
}  # fmt: skip
RANGES = {"1d": 1, "5d": 5, "1mo": 31, "3mo": 92, "6mo": 183, "1y": 366, "2y": 731, "5y": 1827, "10y": 3653}
VALID_RANGES = ["1d", "5d", "1mo", "3mo", "6mo", "1y", "2y", "5y", "10y", "ytd", "max"]
REACH_DAYS = {"1m": 30, "2m": 60, "5m": 60, "15m": 60, "30m": 60, "90m": 60, "60m": 730, "1h": 730}
HEADERS = {
    "Cache-Control": "public, max-age=10, stale-while-revalidate=20", "Server": "ATS", "y-rid": "5im0vfljre5it",
    "x-envoy-upstream-service-time": "3", "Vary": "Origin,Accept-Encoding",
}  # fmt: skip

DAILY = Interval(1, "day")

KINDS = {"ETF": "ETF", "INDEX": "INDEX"}


def error(status: int, message: str | None = None) -> Reply:
    """What Yahoo says instead of a chart."""
    if status == 429:
        return Reply(429, b"Too Many Requests\r\n", dict(HEADERS), "text/html")
    code, text = {
        401: ("Unauthorized", "Invalid Crumb"),
        404: ("Not Found", "No data found, symbol may be delisted"),
        422: ("Unprocessable Entity", "Data doesn't exist for startDate and endDate"),
    }.get(status, ("Internal Server Error", "Internal Server Error"))
    body = {"chart": {"result": None, "error": {"code": code, "description": message or text}}}
    return Reply(status, orjson.dumps(body), dict(HEADERS))


def chart(world: World, call: Call) -> Reply:
    """GET /v8/finance/chart/{symbol}: prices in today's shares plus adjclose; `period2` is inclusive."""
    symbol, name = call.parameters["symbol"], call.query.get("interval", "1d")
    if name not in INTERVALS:
        valid = ", ".join(["1m", "2m", "5m", "15m", "30m", "60m", "90m", "1h", "4h", "1d", "5d", "1wk", "1mo", "3mo"])
        return error(422, f"Invalid input - interval={name} is not supported. Valid intervals: [{valid}]")
    clock = world.clock() // 1000
    recorded = [c for c in world.dataset.charts if c.symbol == symbol and c.interval == name]
    instrument = world.dataset.yahoo.get(symbol)
    if instrument is None and not recorded:
        return error(404)
    try:
        start, end = _window(call, clock, instrument)
    except ValueError:
        return error(
            422, f"Invalid input - range={call.query.get('range')} is not supported. Valid ranges: {VALID_RANGES}"
        )
    if (reach := REACH_DAYS.get(name)) and "period1" in call.query:
        head = f"{name} data not available for startTime={start} and endTime={end}."
        if name == "1m" and end - start > 8 * 86_400:
            return error(422, f"{head} Only 8 days worth of 1m granularity data are allowed to be fetched per request.")
        if start < clock - reach * 86_400:
            return error(422, f"{head} The requested range must be within the last {reach} days.")
    for known in recorded:
        if (known.period1, known.period2) == (start, end) or instrument is None:
            return Reply(200, orjson.dumps(_replayed(known, start, end)), dict(HEADERS))
    assert instrument is not None
    return Reply(200, orjson.dumps(_charted(world, call, instrument, name, start, end)), dict(HEADERS))


def _window(call: Call, clock: int, instrument: Instrument | None) -> tuple[int, int]:
    """[period1, period2] in Unix seconds, both inclusive."""
    if "period1" in call.query:
        return int(call.query["period1"]), int(call.query.get("period2", clock))
    span = call.query.get("range", "1d")
    if span == "max":
        return -(2**31), clock
    if span == "ytd":
        january = dt.datetime(dt.datetime.fromtimestamp(clock, dt.UTC).year, 1, 1, tzinfo=dt.UTC)
        return int(january.timestamp()), clock
    if span not in RANGES:
        raise ValueError(span)
    # "1d" and "5d" are sessions: the newest ones, wherever the week-end is.
    newest = clock
    if instrument:
        bars = instrument.bars(DAILY, (clock - 14 * 86_400) * 1000, clock * 1000, clock * 1000, Grid())
        if bars is not None and len(bars):
            newest = int(bars.time[-min(RANGES[span], len(bars))]) // 1000
    if RANGES[span] <= 5:
        return newest, clock
    return clock - RANGES[span] * 86_400, clock


def _replayed(known: RecordedChart, start: int, end: int) -> dict[str, Any]:
    """A recorded answer: as it was for its own window, else its rows inside the window asked for."""
    if (known.period1, known.period2) == (start, end):
        return known.body
    result = dict(known.body["chart"]["result"][0])
    times = result.get("timestamp", [])
    kept = [i for i, at in enumerate(times) if start <= at <= end]
    if not kept:
        result.pop("timestamp", None)
        return {"chart": {"result": [{**result, "indicators": {"quote": [{}]}}], "error": None}}

    def rows(group: dict[str, list[Any]]) -> dict[str, list[Any]]:
        return {name: [column[i] for i in kept] for name, column in group.items()}

    result["timestamp"] = [times[i] for i in kept]
    result["indicators"] = {name: [rows(group) for group in groups] for name, groups in result["indicators"].items()}
    events = {k: {at: e for at, e in v.items() if start <= int(at) <= end} for k, v in result.get("events", {}).items()}
    result.pop("events", None)
    if events := {k: v for k, v in events.items() if v}:
        result["events"] = events
    return {"chart": {"result": [result], "error": None}}


def _charted(world: World, call: Call, instrument: Instrument, name: str, start: int, end: int) -> dict[str, Any]:
    interval, clock = Interval(*INTERVALS[name]), world.clock()
    intraday = interval.unit in ("minute", "hour")
    stock = instrument.kind == "stock"
    grid = Grid(
        offset=30 * MINUTE if stock else 0, regular_hours=call.query.get("includePrePost", "").lower() != "true"
    )
    stamp = OPENS if stock and interval == DAILY else 0  # a stock's day is stamped at its open, its week at midnight
    first, last = max(start * 1000 - stamp, instrument.first - 366 * DAY), min(end * 1000 - stamp, clock)
    bars = instrument.bars(interval, first, last + 1, clock, grid) if last >= first else None
    result: dict[str, Any] = {"meta": _meta(instrument, name, call, world, bars)}
    if bars is None or not len(bars):
        return {"chart": {"result": [{**result, "indicators": {"quote": [{}]}}], "error": None}}
    step = interval.milliseconds or 31 * DAY
    nulls = [f for f in call.bar_faults if f.kind == "null"]
    # Without a time, "duplicated" is Yahoo's own habit: today's bar comes again, stamped with the moment.
    twice = [f for f in call.bar_faults if f.kind == "duplicated" and f.start is None]
    bars = spoil_bars(bars, step, [f for f in call.bar_faults if f not in twice], clock)
    if twice:
        bars = Bars.concatenate([bars, bars.take(slice(-1, None))])
    if intraday:
        result["meta"]["tradingPeriods"] = _sessions(instrument, bars, call)
    split = instrument.adjusted(bars, clock)
    unit = 10**bars.price_scale

    def prices(column: np.ndarray) -> list[float | None]:
        # Yahoo computes in single precision: 75.0875 arrives as 75.0875015258789.
        return list((column / unit).astype(np.float32).astype(np.float64).tolist())

    if stock or bars.quote is None:
        volume = np.rint(split.volume / 10**bars.volume_scale).astype(np.int64)
    else:
        volume = bars.quote // 10**bars.quote_scale  # crypto: notional in US dollars
    quote: dict[str, list[Any]] = {
        "open": prices(split.open), "high": prices(split.high), "low": prices(split.low), "close": prices(split.close),
        "volume": volume.tolist(),
    }  # fmt: skip
    times = ((bars.time + stamp) // 1000).tolist()
    if twice:
        times[-1] = min(result["meta"]["regularMarketTime"], end)
    adjusted = (np.array(quote["close"]) * instrument.dividend_factors(bars.time, clock)).tolist()
    for fault in nulls:
        for i, at in enumerate(bars.time.tolist()):
            if (fault.start is None or at >= fault.start) and at < (fault.end or (fault.start or -1) + 1):
                adjusted[i] = None
                for column in quote.values():
                    column[i] = None
    result["timestamp"] = times
    if events := _events(instrument, call, start, min(end, clock // 1000), clock):
        result["events"] = events
    result["indicators"] = {"quote": [quote]} | ({} if intraday else {"adjclose": [{"adjclose": adjusted}]})
    return {"chart": {"result": [result], "error": None}}


def _sessions(instrument: Instrument, bars: Bars, call: Call) -> Any:
    """The trading periods of the days that have bars: a list of lists, three of them with extended hours."""
    zone, stock = instrument.zone, instrument.kind == "stock"
    local = to_local(bars.time, zone)
    days = np.unique(local // DAY * DAY)
    regular: list[Any] = []
    pre: list[Any] = []
    post: list[Any] = []
    for day, midnight in zip(days.tolist(), to_utc(days, zone).tolist(), strict=True):
        offset = (day - midnight) // 1000
        label = "UTC" if not stock else "EDT" if offset == -4 * 3600 else "EST"
        close = instrument.session_close(midnight) if stock else midnight + DAY - MINUTE
        bounds = (
            (midnight + 4 * HOUR, midnight + OPENS, close, midnight + 20 * HOUR)
            if stock
            else (midnight, midnight, close, close)
        )
        rows = [
            {"timezone": label, "start": begin // 1000, "end": finish // 1000, "gmtoffset": offset}
            for begin, finish in zip(bounds, bounds[1:], strict=False)
        ]
        for group, row in zip((pre, regular, post), rows, strict=True):
            group.append([row])
    if call.query.get("includePrePost", "").lower() == "true":
        return {"pre": pre, "post": post, "regular": regular}
    return regular


def _events(instrument: Instrument, call: Call, start: int, end: int, clock: int) -> dict[str, Any]:
    asked = call.query.get("events", "")
    known = instrument.effective_splits(clock)
    out: dict[str, Any] = {}
    rows: dict[str, Any] = {}
    for kind, dividend in [
        *(("dividends", one) for one in instrument.dividends if "div" in asked),
        *(("capitalGains", one) for one in instrument.capital_gains if "capitalGains" in asked),
    ]:
        midnight = local_midnight(dividend.ex_date, instrument.zone)
        at = (midnight + OPENS) // 1000
        amount = float(dividend.amount)
        for effective, ratio in known:
            amount /= float(ratio) if effective > midnight else 1.0
        if start <= at <= end:
            out.setdefault(kind, {})[str(at)] = {"amount": round(amount, 6), "date": at}
    for split in instrument.splits if "split" in asked else ():
        at = (local_midnight(split.effective, instrument.zone) + OPENS) // 1000
        if start <= at <= end:
            ratio_text = f"{split.new}:{split.old}"
            rows[str(at)] = {"date": at, "numerator": split.new, "denominator": split.old, "splitRatio": ratio_text}
    if rows:
        out["splits"] = rows
    return out


def _meta(instrument: Instrument, name: str, call: Call, world: World, bars: Bars | None) -> dict[str, Any]:
    clock, stock = world.clock(), instrument.kind == "stock"
    zone = instrument.zone
    today = local_midnight(date_of(clock, zone), zone)
    offset = int(to_local(np.array([clock]), zone)[0]) - clock
    label = "UTC" if not stock else "EDT" if offset == -4 * HOUR else "EST"

    def period(begin: int, finish: int) -> dict[str, Any]:
        return {
            "timezone": label,
            "start": (today + begin) // 1000,
            "end": (today + finish) // 1000,
            "gmtoffset": offset // 1000,
        }

    opens, closes = (OPENS, CLOSES) if stock else (0, DAY - MINUTE)
    pre, post = (4 * HOUR, 20 * HOUR) if stock else (0, closes)
    recent = instrument.bars(DAILY, today - 14 * DAY, clock + 1, clock, Grid())
    price = float(recent.close[-1]) / 10**recent.price_scale if recent is not None and len(recent) else None
    before = float(bars.open[0]) / 10**bars.price_scale if bars is not None and len(bars) else price
    closed = min(today + closes, clock)
    return {
        "currency": "USD",
        "symbol": instrument.symbol,
        "exchangeName": {"XNAS": "NMS", "XNYS": "NYQ", "ARCX": "PCX"}.get(instrument.exchange, instrument.exchange),
        "fullExchangeName": {"XNAS": "NasdaqGS", "XNYS": "NYSE", "ARCX": "NYSEArca"}.get(instrument.exchange, "CCC"),
        "instrumentType": KINDS.get(instrument.security, "EQUITY") if stock else "CRYPTOCURRENCY",
        "firstTradeDate": (instrument.first + (OPENS if stock else 0)) // 1000,
        "regularMarketTime": closed // 1000,
        "hasPrePostMarketData": stock,
        "gmtoffset": offset // 1000,
        "timezone": label,
        "exchangeTimezoneName": zone,
        "regularMarketPrice": price,
        "longName": instrument.name,
        "shortName": instrument.name,
        "chartPreviousClose": before,
        "priceHint": 2,
        "currentTradingPeriod": {
            "pre": period(pre, opens), "regular": period(opens, closes), "post": period(closes, post),
        },
        "dataGranularity": name,
        "range": call.query.get("range", ""),
        "validRanges": VALID_RANGES,
    }  # fmt: skip
