"""Binance's public archive: zips of CSV with checksums, as docs/reference/providers.md records it."""

from __future__ import annotations

import calendar
import datetime as dt
import hashlib
import io
import re
import zipfile
from xml.sax.saxutils import escape

import numpy as np

from scripts.simulator.bars import DAY, HOUR, Interval, date_of, day_ms
from scripts.simulator.binance import INTERVALS, kline_cells
from scripts.simulator.binance_errors import GRID
from scripts.simulator.derivatives import LABELS_START_FROM
from scripts.simulator.encode import encode_rows
from scripts.simulator.faults import BAR_KINDS, spoil_bars, spoil_samples
from scripts.simulator.instruments import Instrument
from scripts.simulator.world import Call, Reply, World

PUBLISHED = 2 * HOUR  # how long after midnight a file appears
MICROSECONDS_FROM = dt.date(2025, 1, 1)  # spot only
METRICS_SHIFT = dt.date(2024, 3, 4)  # from this day on a metrics file runs 00:05 .. 00:00 of the next day ..
METRICS_START = date_of(LABELS_START_FROM, "UTC")  # .. and from this one on 00:00 .. 23:55, the labels being starts
EMPTY_RATIOS = (dt.date(2022, 1, 1), dt.date(2022, 11, 15))
KLINE_HEADER = (
    b"open_time,open,high,low,close,volume,close_time,quote_volume,count,"
    b"taker_buy_volume,taker_buy_quote_volume,ignore\n"
)
METRICS_HEADER = (
    "create_time,symbol,sum_open_interest,sum_open_interest_value,count_toptrader_long_short_ratio,"
    "sum_toptrader_long_short_ratio,count_long_short_ratio,sum_taker_long_short_vol_ratio\n"
)


def error(status: int, message: str | None = None, key: str = "") -> Reply:
    """S3's XML; 404 is what a file not (yet) published gives."""
    code, text = ("NoSuchKey", "The specified key does not exist.") if status == 404 else ("InternalError", "Error")
    body = f"<Error><Code>{code}</Code><Message>{escape(message or text)}</Message><Key>{escape(key)}</Key></Error>"
    return Reply(status, b'<?xml version="1.0" encoding="UTF-8"?>\n' + body.encode(), {}, "application/xml")


def published(period: str, clock: int) -> bool:
    """Whether the file of a day (the next day) or of a month (the first Monday after it) is there at ``clock``."""
    if len(period) == 10:
        return clock >= day_ms(dt.date.fromisoformat(period)) + DAY + PUBLISHED
    first, days = _span(period)
    after = first + dt.timedelta(days=days)
    return clock >= day_ms(after + dt.timedelta(days=-after.weekday() % 7)) + PUBLISHED


def _span(period: str) -> tuple[dt.date, int]:
    """First day and number of days of YYYY-MM-DD or YYYY-MM."""
    if len(period) == 10:
        return dt.date.fromisoformat(period), 1
    year, month = (int(part) for part in period.split("-"))
    return dt.date(year, month, 1), calendar.monthrange(year, month)[1]


def file(world: World, call: Call) -> Reply:
    """GET /data/..../NAME.zip."""
    packed = _packed(world, call)
    if packed is None:
        return error(404, key=call.path[1:])
    etag = hashlib.md5(packed, usedforsecurity=False).hexdigest()
    return Reply(200, packed, {"ETag": f'"{etag}"', "Server": "AmazonS3"}, "application/zip")


def checksum(world: World, call: Call) -> Reply:
    """GET NAME.zip.CHECKSUM: `<sha256>  <file name>`, no newline at its end. An amended file has a new one."""
    name = call.path.rsplit("/", 1)[1].removesuffix(".CHECKSUM")
    endpoint = {"metrics": "metrics", "fundingRate": "funding"}.get(call.parameters["type"], "bars")
    call.faults = [
        fault
        for fault in world.faults.all()
        if fault.kind in BAR_KINDS and fault.matches(call.provider, endpoint, call.symbol, call.timeframe)
    ]
    packed = _packed(world, call)
    if packed is None:
        return error(404, key=call.path[1:])
    return Reply(200, f"{hashlib.sha256(packed).hexdigest()}  {name}".encode(), {}, "binary/octet-stream")


def _packed(world: World, call: Call) -> bytes | None:
    """The zip, None where there is none; its bytes depend on its rows only."""
    part = call.parameters
    recorded = world.dataset.files.get(call.path.removesuffix(".CHECKSUM"))
    if recorded is not None and not call.bar_faults:
        return recorded.read_bytes()
    futures, kind, period = part["market"] != "spot", part["type"], part["period"]
    instrument = (world.dataset.futures if futures else world.dataset.spot).get(part["symbol"])
    stem = "-".join(filter(None, (part["symbol"], part.get("interval") or kind, period)))
    if (
        instrument is None
        or part["market"] == "futures/cm"
        or not published(period, world.clock())
        or call.path.rsplit("/", 1)[1].removesuffix(".CHECKSUM") != f"{stem}.zip"
        or (len(period) == 10) != (part["period_type"] == "daily")
    ):
        return None
    key = (call.path.removesuffix(".CHECKSUM"), instrument.symbol)
    if not call.bar_faults and (known := world.files.get(key)):
        return known
    if kind == "klines":
        rows = _klines(world, call, instrument, period, futures)
    elif kind == "metrics" and futures and len(period) == 10:
        rows = _metrics(call, instrument, period)
    elif kind == "fundingRate" and futures and len(period) == 7:
        rows = _funding(call, instrument, period)
    else:
        return None
    if rows is None:
        return None
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        first, days = _span(period)
        made = first + dt.timedelta(days=days)
        archive.writestr(
            zipfile.ZipInfo(f"{stem}.csv", (made.year, made.month, made.day, 0, 0, 0)), rows, zipfile.ZIP_DEFLATED, 1
        )
    if not call.bar_faults:
        world.files.put(key, buffer.getvalue(), len(buffer.getvalue()))
    return buffer.getvalue()


def _klines(world: World, call: Call, instrument: Instrument, period: str, futures: bool) -> bytes | None:
    name = "1M" if call.parameters["interval"] == "1mo" else call.parameters["interval"]
    if name not in INTERVALS:
        return None
    interval = Interval(*INTERVALS[name])
    first, days = _span(period)
    start = day_ms(first)
    bars = instrument.bars(interval, start, start + days * DAY, world.clock(), GRID)
    if bars is not None:
        bars = spoil_bars(bars, interval.milliseconds or 31 * DAY, call.bar_faults, world.clock())
    if bars is None or not len(bars):
        return None
    micro = not futures and first >= MICROSECONDS_FROM
    text = encode_rows([*kline_cells(instrument, bars, interval, b"", micro), b",0\n"], len(bars)).data
    return KLINE_HEADER + text if futures else text


def _metrics(call: Call, instrument: Instrument, period: str) -> bytes | None:
    derivatives = instrument.derivatives
    day = dt.date.fromisoformat(period)
    start = day_ms(day)
    if derivatives is None or start < instrument.first:
        return None
    taken = start + np.arange(288) * 300_000 + (300_000 if day >= METRICS_SHIFT else 0)
    times = taken - (300_000 if day >= METRICS_START else 0)
    bars = instrument.bars(Interval(5, "minute"), int(taken[0]) - 300_000, int(taken[-1]), int(taken[-1]) + DAY, GRID)
    interest = derivatives.samples("open_interest", taken)
    shares = [derivatives.samples(name, taken) for name in ("top_accounts", "top_positions", "global")]
    lines, empty = [], EMPTY_RATIOS[0] <= day < EMPTY_RATIOS[1]
    for i, at in enumerate(times.tolist()):
        price = int(bars.close[i]) / 10**bars.price_scale if bars is not None and i < len(bars) else 0.0
        ratios = [f"{int(share[i]) / (10_000 - int(share[i])):.8f}" for share in shares]
        buy = int(bars.taker_base[i]) if bars is not None and bars.taker_base is not None and i < len(bars) else 1
        sell = int(bars.volume[i]) - buy if bars is not None and i < len(bars) else 1
        ratios.append(f"{buy / max(sell, 1):.8f}")
        stamp = dt.datetime.fromtimestamp(at / 1000, dt.UTC).strftime("%Y-%m-%d %H:%M:%S")
        contracts = int(interest[i])
        cells = ['""'] * 4 if empty else ratios
        value = contracts / 1000 * price
        lines.append(
            f"{stamp},{instrument.symbol},{contracts // 1000}.{contracts % 1000:03d}0000000,{value:.10f},"
            f"{','.join(cells)}\n"
        )
    samples = list(zip(times.tolist(), lines, strict=True))
    lines = [line for _, line in spoil_samples(samples, call.bar_faults, 2**62)]
    return (METRICS_HEADER + "".join(lines)).encode()


def _funding(call: Call, instrument: Instrument, period: str) -> bytes | None:
    first, days = _span(period)
    if instrument.derivatives is None:
        return None
    rows = instrument.derivatives.funding(day_ms(first), day_ms(first) + days * DAY)
    if not rows:
        return None
    hours = instrument.derivatives.interval_hours
    samples = [(row["fundingTime"], f"{row['fundingTime']},{hours},{row['fundingRate']}\n") for row in rows]
    lines = [line for _, line in spoil_samples(samples, call.bar_faults, 2**62)]
    return ("calc_time,funding_interval_hours,last_funding_rate\n" + "".join(lines)).encode()


def listing(world: World, call: Call) -> Reply:
    """GET /?prefix=data/.../klines/SYMBOL/5m/: S3's XML of the files there, at most 1000, continued by `marker`."""
    prefix, marker = call.query.get("prefix", ""), call.query.get("marker", "")
    match = re.fullmatch(
        r"data/(spot|futures/um)/(daily|monthly)/(klines|metrics|fundingRate)/([A-Z0-9_]+)/(?:(\w+)/)?", prefix
    )
    keys: list[str] = []
    if match:
        market, period_type, kind, symbol, interval = match.groups()
        instrument = (world.dataset.futures if market != "spot" else world.dataset.spot).get(symbol)
        known = instrument is not None and (
            kind == "klines" or (instrument.derivatives is not None and market != "spot")
        )
        if instrument and known and (kind == "klines") == (interval is not None):
            stem, day, ends = f"{prefix}{symbol}-{interval or kind}", date_of(instrument.first, "UTC"), instrument.last
            last = min(world.now().date(), date_of(ends, "UTC") if ends is not None else dt.date.max)
            while day <= last:
                period = day.isoformat() if period_type == "daily" else day.isoformat()[:7]
                if published(period, world.clock()):
                    keys += [f"{stem}-{period}.zip", f"{stem}-{period}.zip.CHECKSUM"]
                day = day + dt.timedelta(days=1) if period_type == "daily" else next_month(day)
    keys = [key for key in keys if key > marker]
    page = "".join(f"<Contents><Key>{escape(key)}</Key></Contents>" for key in keys[:1000])
    more = "true" if len(keys) > 1000 else "false"
    tail = f"<NextMarker>{escape(keys[999])}</NextMarker>" if len(keys) > 1000 else ""
    head = f"<Name>data.binance.vision</Name><Prefix>{escape(prefix)}</Prefix><MaxKeys>1000</MaxKeys>"
    body = f"<ListBucketResult>{head}<IsTruncated>{more}</IsTruncated>{tail}{page}</ListBucketResult>"
    return Reply(200, b'<?xml version="1.0" encoding="UTF-8"?>\n' + body.encode(), {}, "application/xml")


def next_month(day: dt.date) -> dt.date:
    """The first day of the month after."""
    return (day.replace(day=1) + dt.timedelta(days=32)).replace(day=1)


_FILE = (
    r"/data/(?P<market>spot|futures/um|futures/cm)/(?P<period_type>daily|monthly)/(?P<type>{types})/(?P<symbol>[A-Z0-9_]+)"
    r"(?:/(?P<interval>[0-9a-zA-Z]+))?/[^/]+?-(?P<period>\d{{4}}-\d\d(?:-\d\d)?)\.zip"
)
ROUTES = [
    (r"/?", "listing", listing),
    (_FILE.format(types="klines"), "bars", file),
    (_FILE.format(types="metrics"), "metrics", file),
    (_FILE.format(types="fundingRate"), "funding", file),
    (_FILE.format(types=r"[A-Za-z]+") + r"\.CHECKSUM", "checksum", checksum),
]
