"""Random histories of a small market: what providers said when, in the order in which it was loaded.

Data flow: a seeded generator -> actions (append, amend, withdraw, ...) -> the same loads in several warehouses.

Every provider quotes a symbol's price with its own noise. What a provider would answer now is kept per series, so that
later answers agree with earlier ones wherever no action changed them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import numpy as np

from scripts.site.reference_formulas import STEP
from tests import payloads
from tests.oracle.bars import Bar, sessions, slots, time_zone
from tests.warehouse import Answer, Warehouse, bar_answer, crypto, stock

CENT = Decimal("0.01")

Series = tuple[str, str, str]
"""(provider, symbol, timeframe)"""


@dataclass
class History:
    """One random history. `warehouses` all get the same loads; `journal` tells what happened, a line an action."""

    seed: int
    warehouses: Sequence[Warehouse]
    now: datetime
    registry: dict[str, list[dict[str, str]]]
    initial_bars: dict[Series, int]
    journal: list[str] = field(default_factory=list)
    bars: dict[Series, dict[datetime, Bar]] = field(default_factory=dict)
    held_back: dict[Series, set[datetime]] = field(default_factory=dict)
    splits: dict[str, dict[date, tuple[int, int]]] = field(default_factory=dict)
    uncommitted: list[tuple[str, str]] = field(default_factory=list)
    older_answers: list[tuple[str, Answer]] = field(default_factory=list)
    corrected: list[tuple[str, str, datetime]] = field(default_factory=list)
    absent: set[str] = field(default_factory=set)
    exceptions: dict[date, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.walks: dict[str, dict[datetime, Decimal]] = {}
        self._write_registry()
        self._move_clock(timedelta(0))

    # ------------------------------------------------------------ the market

    def asset_class(self, symbol: str) -> str:
        return self.registry[symbol][0]["asset_class"]

    def calendar(self, symbol: str) -> str:
        return self.registry[symbol][0]["calendar"]

    def slots(self, series: Series, first: datetime, last: datetime) -> list[datetime]:
        """Opens of the provider's bars in [first, last)."""
        provider, symbol, timeframe = series
        calendar = self.calendar(symbol)
        out: list[datetime] = []
        days = sessions(calendar, first.date() - timedelta(days=8), last.date() + timedelta(days=1))
        if timeframe in ("1d", "1w"):
            stamps = [datetime.combine(day.session_date, time(), time_zone(calendar)).astimezone(UTC) for day in days]
            if timeframe == "1w":
                mondays = {
                    datetime.combine(
                        day.session_date - timedelta(days=day.session_date.weekday()), time(), time_zone(calendar)
                    ).astimezone(UTC)
                    for day in days
                }
                stamps = sorted(mondays)
            return [stamp for stamp in stamps if first <= stamp < last]
        for day in days:
            grid = slots(day, STEP[timeframe])
            if provider == "polygon" and timeframe == "1h" and calendar != "24/7":
                # On the clock, and an hour before and after the session too.
                start = day.opens_at.replace(minute=0) - timedelta(hours=1)
                grid = [start + n * STEP["1h"] for n in range(round((day.closes_at - start) / STEP["1h"]) + 1)]
            out += [opened for opened in grid if first <= opened < last]
        return out

    def price(self, symbol: str, at: datetime) -> Decimal:
        """The random walk: one step per five minutes, the same whenever it is asked."""
        walk = self.walks.setdefault(symbol, {})
        if at not in walk:
            # Independent of the order of questions: a sum of waves whose phases come from the seed.
            base = random.Random(f"{self.seed} {symbol}").uniform(20, 400)
            noise = random.Random(f"{self.seed} {symbol} {at.isoformat()}").gauss(0, 0.004)
            wave = 0.2 * np.sin(at.timestamp() / 86400 / 9) + 0.05 * np.sin(at.timestamp() / 7000)
            walk[at] = Decimal(str(base * (1 + wave + noise))).quantize(CENT)
        return walk[at]

    def make_bar(self, series: Series, opened: datetime) -> Bar:
        _, symbol, timeframe = series
        first, last = self.price(symbol, opened), self.price(symbol, opened + STEP[timeframe])
        wick = [Decimal(self.random.randint(0, 50)) / 100 for _ in range(2)]
        digits = 3 if self.asset_class(symbol) == "crypto" else 0
        volume = Decimal(str(round(self.random.lognormvariate(6, 1.5), digits)))
        if self.random.random() < 0.02:
            volume = Decimal(0)
        taker = (volume * Decimal(str(round(self.random.random(), 2)))).quantize(Decimal("0.00000001"))
        return Bar(opened, first, max(first, last) + wick[0], min(first, last) - wick[1], last, volume, taker)

    def spoiled(self, bar: Bar) -> Bar:
        """The bar with one thing wrong."""
        return self.random.choice(
            [
                replace(bar, high=bar.low - 1),
                replace(bar, close=Decimal(0)),
                replace(bar, volume=Decimal(-1), taker_buy_volume=Decimal(0)),
                replace(bar, low=bar.high + 1),
            ]
        )

    # ------------------------------------------------------------ answers

    def answer(self, series: Series, first: datetime, last: datetime, fetched_at: datetime | None = None) -> Answer:
        """What the provider says of [first, last): its bars, the running one unfinished."""
        provider, symbol, timeframe = series
        known = self.bars.get(series, {})
        held = self.held_back.get(series, set())
        said = [known[t] for t in sorted(known) if first <= t < last and t not in held]
        running = [t for t in self.slots(series, self.now - 2 * STEP[timeframe], self.now) if t not in known]
        if running and first <= running[-1] < last:
            said.append(self.make_bar(series, running[-1]))
        if len(said) > 3 and self.random.random() < 0.1:
            twice = self.random.choice(said)
            said.append(twice)
        fetched_at = fetched_at or self.now
        extra: dict[str, object] = {}
        if provider == "yahoo":
            said = [self._as_yahoo_says(symbol, timeframe, bar, fetched_at) for bar in said]
            events = {
                day: ratio
                for day, ratio in self.splits.get(symbol, {}).items()
                if first.date() <= day <= min(last.date(), fetched_at.date())
            }
            zone = "UTC" if self.asset_class(symbol) == "crypto" else "America/New_York"
            extra = {"splits": events, "time_zone": zone}
        return bar_answer(provider, symbol, timeframe, said, window=(first, last), fetched_at=fetched_at, **extra)

    def _as_yahoo_says(self, symbol: str, timeframe: str, bar: Bar, fetched_at: datetime) -> Bar:
        """In single precision, adjusted for the splits up to the answer: some a day early or late, hours now and then never."""
        factor = Decimal(1)
        for day, (new, old) in self.splits.get(symbol, {}).items():
            adjusted_on = day + timedelta(days=day.toordinal() % 4 - 1)
            if timeframe == "1h" and day.toordinal() % 3 == 0:
                continue
            if (
                bar.timestamp.astimezone(time_zone(self.calendar(symbol))).date() < day
                and adjusted_on <= fetched_at.date()
            ):
                factor = factor * new / old

        def single(price: Decimal) -> Decimal:
            return Decimal(repr(float(np.float32(price / factor))))

        return Bar(
            bar.timestamp,
            single(bar.open),
            single(bar.high),
            single(bar.low),
            single(bar.close),
            (bar.volume * factor).quantize(Decimal(1)),
        )

    def load(self, provider: str, *answers: Answer) -> None:
        if self.random.random() < 0.08:
            load_id = ""
            for warehouse in self.warehouses:
                load_id = warehouse.load(provider, *answers, uncommitted=True)
            self.uncommitted.append((provider, load_id))
            self._say(f"the next load of {provider} is not committed: {load_id}")
            return
        for warehouse in self.warehouses:
            warehouse.load(provider, *answers)

    # ------------------------------------------------------------ actions

    def begin(self) -> None:
        """The first load of every series."""
        for series, count in self.initial_bars.items():
            self._list(series, count)

    def disagree(self) -> None:
        """The source that supplies a bar tells it 3 % off, where two others have it too: they outvote it."""
        pick = random.Random(f"{self.seed} disagree")
        for symbol, timeframe in sorted({series[1:] for series in self.bars}):
            told = [series for series in self.bars if series[1:] == (symbol, timeframe)]
            if len(told) < 3:
                continue
            series = (self.registry[symbol][-1]["source_priority"].split()[0], symbol, timeframe)
            common = sorted(set.intersection(*(set(self.bars[one]) - self.held_back[one] for one in told)))
            for opened in pick.sample(common, k=min(3, len(common))):
                old, k = self.bars[series][opened], Decimal("1.03")
                new = replace(old, open=old.open * k, high=old.high * k, low=old.low * k, close=old.close * k)
                self.bars[series][opened] = new
                for warehouse in self.warehouses:
                    warehouse.load_bars(*series, [new])
                self._say(f"{series} alone at {opened:%Y-%m-%d %H:%M}")

    def _list(self, series: Series, count: int) -> None:
        """Make the series' last `count` final bars and load them in a few answers."""
        span = count * STEP[series[2]] * (1 if self.calendar(series[1]) == "24/7" else 9)
        opens = [
            t for t in self.slots(series, self.now - span - timedelta(days=4), self.now) if self._is_over(series, t)
        ]
        self.bars[series] = {t: self.make_bar(series, t) for t in opens[-count:]}
        self.held_back[series] = set(self.random.sample(opens[-count:][1:-1], k=min(3, max(0, count - 2))))
        pieces = self.random.choice([1, 2, 3])
        edges = [opens[-count:][n * count // pieces] for n in range(pieces)] + [self.now]
        for first, last in zip(edges, edges[1:], strict=False):
            self.load(series[0], self.answer(series, first, last))
        self._say(f"{series} listed with {count} bars")

    def _is_over(self, series: Series, opened: datetime) -> bool:
        _, symbol, timeframe = series
        zone = time_zone(self.calendar(symbol))
        day = opened.astimezone(zone).date()
        first = last = day
        if timeframe == "1w":
            last = day + timedelta(days=6)
        closes = [s.closes_at for s in sessions(self.calendar(symbol), first, last)]
        if timeframe in ("1d", "1w"):
            return bool(closes) and closes[-1] <= self.now
        return opened + STEP[timeframe] <= self.now

    def append(self) -> None:
        """Time goes on; a few or all series are asked for what is new, with some bars read again."""
        self._move_clock(self.random.choice([timedelta(minutes=m) for m in (5, 17, 65, 300, 1500, 4400)]))
        for series in self._some_series(0.7):
            self._catch_up(series)

    def _catch_up(self, series: Series) -> None:
        known = self.bars[series]
        newest = max(known)
        fresh = [t for t in self.slots(series, newest + timedelta(seconds=1), self.now) if self._is_over(series, t)]
        for opened in fresh:
            bar = self.make_bar(series, opened)
            known[opened] = self.spoiled(bar) if self.random.random() < 0.03 else bar
            if self.random.random() < 0.02:
                self.held_back[series].add(opened)
        again = sorted(known)[-self.random.choice([1, 3, 20]) - len(fresh) :][0]
        self.load(series[0], self.answer(series, again, self.now))
        self._say(f"{series} +{len(fresh)} bars, from {again:%m-%d %H:%M}")

    def amend(self) -> None:
        """A source changes one bar, or a run of them, and is read again."""
        series = self._one_series()
        opens = sorted(self.bars[series])
        at = self.random.randrange(len(opens))
        chosen = opens[at : at + self.random.choice([1, 1, 1, 2, 40])]
        for opened in chosen:
            old = self.bars[series][opened]
            self.bars[series][opened] = self.random.choice(
                [self.make_bar(series, opened), replace(old, volume=old.volume + 1)]
            )
        self._reread(series, chosen)
        self._say(f"{series} amended {len(chosen)} from {chosen[0]:%Y-%m-%d %H:%M}")

    def spoil(self) -> None:
        """A source says something impossible of a bar; or makes an impossible bar good."""
        series = self._one_series()
        opened = self.random.choice(sorted(self.bars[series]))
        bar = self.bars[series][opened]
        fine = bar.low <= min(bar.open, bar.close) and bar.high >= max(bar.open, bar.close) and bar.volume >= 0
        self.bars[series][opened] = self.spoiled(bar) if fine and bar.close > 0 else self.make_bar(series, opened)
        self._reread(series, [opened])
        self._say(f"{series} {'spoiled' if fine else 'healed'} {opened:%Y-%m-%d %H:%M}")

    def withdraw(self) -> None:
        """A source takes a bar back: its neighbours are read again, it is not."""
        series = self._one_series()
        opens = sorted(self.bars[series])
        if len(opens) < 5:
            return
        at = self.random.randrange(2, len(opens) - 2)
        del self.bars[series][opens[at]]
        self._reread(series, opens[at - 2 : at + 3])
        self._say(f"{series} withdrew {opens[at]:%Y-%m-%d %H:%M}")

    def lose(self) -> None:
        """A source has lost an hour or more of a session, and is read again."""
        series = self._one_of_minutes()
        opens = sorted(self.bars[series])
        at = self.random.randrange(2, len(opens) - 40)
        lost = opens[at : at + self.random.choice([13, 20, 35])]
        self.held_back[series].update(lost)
        self._reread(series, lost)
        self._say(f"{series} lost {len(lost)} from {lost[0]:%Y-%m-%d %H:%M}")

    def refuse(self) -> None:
        """A source sends a row that is rejected, on a bar that it had left out, if there is one."""
        series = self._one_of_minutes()
        opened = self.random.choice(sorted(self.held_back[series]) or sorted(self.bars[series]))
        self.held_back[series].discard(opened)
        self.bars[series][opened] = replace(self.bars[series][opened], high=Decimal(2_000_000_000))
        self._reread(series, [opened])
        self._say(f"{series} refused {opened:%Y-%m-%d %H:%M}")

    def repeat(self) -> None:
        """The same window again, all the same: as a full answer or as `unchanged`."""
        series = self._one_series()
        opens = sorted(self.bars[series])
        answer = self.answer(series, opens[len(opens) // 2], self.now)
        if self.random.random() < 0.5:
            answer = replace(answer, payload=None, status="unchanged")
        self.load(series[0], answer)
        self._say(f"{series} repeated ({answer.status})")

    def arrive_late(self) -> None:
        """Bars that a source had left out come after their followers."""
        for series in self._some_series(0.5):
            if self.held_back[series]:
                late = sorted(self.held_back[series])
                self.held_back[series].clear()
                self._reread(series, late, around=self.random.choice([0, 1]))
                self._say(f"{series} {len(late)} bars came late")

    def out_of_order(self) -> None:
        """An answer is loaded after one that was fetched later."""
        series = self._one_series()
        opens = sorted(self.bars[series])[-30:]
        older = self.answer(series, opens[0], self.now)
        chosen = self.random.choice(opens)
        self.bars[series][chosen] = self.make_bar(series, chosen)
        self._move_clock(timedelta(seconds=30))
        self.load(series[0], self.answer(series, opens[0], self.now))
        self.load(series[0], older)
        self._say(f"{series} an older answer loaded last")

    def backfill(self) -> None:
        """Bars before the first."""
        series = self._one_series()
        oldest = min(self.bars[series])
        count = self.random.choice([1, 30])
        span = (count * (1 if self.calendar(series[1]) == "24/7" else 9) + 5) * STEP[series[2]] + timedelta(days=4)
        opens = self.slots(series, oldest - span, oldest)[-count:]
        if not opens:
            return
        self.bars[series] |= {t: self.make_bar(series, t) for t in opens}
        self.load(series[0], self.answer(series, opens[0], oldest))
        self._say(f"{series} backfilled {len(opens)} before {oldest:%Y-%m-%d %H:%M}")

    def change_registry(self) -> None:
        """A source is taken off an asset's list, or put first; or the asset's first day moves; or a rename is told; or its
        futures are on another number of coins."""
        symbol = self.random.choice(sorted(self.registry))
        row = self.registry[symbol][-1]
        sources = ["polygon", "yahoo"] + (["binance"] if row["asset_class"] == "crypto" else [])
        kinds = ["sources", "sources", "active_from", "rename", "timeframes", "leave or return"]
        kind = self.random.choice(kinds + ["contract"] * (row["asset_class"] == "crypto"))
        if kind == "leave or return":
            told = "returns" if symbol in self.absent else "leaves"
            self.absent ^= {symbol}
            if len(self.absent) == len(self.registry):
                self.absent.remove(symbol)
                return
        elif kind == "sources":
            self.random.shuffle(sources)
            new = " ".join(sources[: self.random.choice([1, 2, 3])])
            for one in self.registry[symbol]:
                one["source_priority"] = new
            told = new
        elif kind == "active_from":
            own = [t for key, bars in self.bars.items() if key[1] == symbol for t in bars]
            row = self.registry[symbol][0]
            told = "" if row.get("active_from") else str(self.random.choice(sorted(own)).date())
            if told and row.get("active_to") and told > row["active_to"]:
                told = ""
            row["active_from"] = told
        elif kind == "contract":
            told = row["binance"] if row["binance_futures"].startswith("1000") else f"1000{row['binance']}"
            row["binance_futures"] = told
        elif kind == "rename" and not row.get("active_from") and len(self.registry[symbol]) == 1:
            day = (self.now - timedelta(days=self.random.randint(1, 10))).date()
            self.registry[symbol].append({**row, "active_from": str(day)})
            row["active_to"] = str(day - timedelta(days=1))
            told = f"on {day}"
        elif kind == "timeframes" and row["timeframes"] == "5m 1h 1d":
            told = self.random.choice(["5m 1d", "5m 1h"])
            for one in self.registry[symbol]:
                one["timeframes"] = told
        elif kind == "timeframes" and row["timeframes"].startswith("5m"):
            told = "5m 1h 1d"
            for one in self.registry[symbol]:
                one["timeframes"] = told
        else:
            return
        self._write_registry()
        self._say(f"registry: {symbol} {kind} {told}")

    def list_new(self) -> None:
        """A new asset with its first bars."""
        symbol = f"NEW{len(self.registry)}"
        if any(row["asset_class"] == "crypto" for rows in self.registry.values() for row in rows):
            self.registry[symbol] = [crypto(symbol, "1h")]
            provider = "binance"
        else:
            # Days of the whole market may have told of it before.
            self.registry[symbol] = [stock(symbol, self.random.choice(["1h", "1h 1d"]))]
            provider = self.random.choice(["polygon", "yahoo"])
        self._write_registry()
        self._list((provider, symbol, "1h"), 70)

    def whole_market(self) -> None:
        """Some days of all stocks at once, those included that are not listed (yet)."""
        if not self._has_stocks():
            return
        days = sessions("XNYS", self.now.date() - timedelta(days=40), self.now.date())
        symbols = [*self.registry, f"NEW{len(self.registry)}", f"NEW{len(self.registry) + 1}"]
        for day in self.random.sample(days, k=3):
            opened = datetime.combine(day.session_date, time(), time_zone("XNYS")).astimezone(UTC)
            prices = {symbol: self.price(symbol, opened) for symbol in symbols}
            bars = {symbol: Bar(opened, p, p + 1, p - 1, p, Decimal(1000)) for symbol, p in prices.items()}
            payload = payloads.polygon_grouped(bars, day.closes_at)
            window = (opened, opened + timedelta(days=1))
            self.load("polygon", Answer("grouped_daily", None, payload, "1d", window))
            self._say(f"the whole market of {day.session_date}")

    def change_sessions(self) -> None:
        """A day is found to have been closed or short after all; or it is to be; or that was an error."""
        if not self._has_stocks():
            return
        if self.exceptions and self.random.random() < 0.3:
            day = self.random.choice(sorted(self.exceptions))
            told = self.exceptions.pop(day) and "regular"
        else:
            days = sessions("XNYS", self.now.date() - timedelta(days=20), self.now.date() + timedelta(days=4))
            regular = [one for one in days if (one.closes_at - one.opens_at) == timedelta(hours=6.5)]
            day = self.random.choice(regular).session_date
            told = self.exceptions[day] = self.random.choice([",", "09:30,13:00", "11:00,16:00"])
        for warehouse in self.warehouses:
            warehouse.project.add_session_exceptions(self.exceptions)
        self._write_registry()
        self._say(f"sessions: {day} {told}, now {self.now:%Y-%m-%d %H:%M}")

    def change_setting(self) -> None:
        """Another share of its finer bars makes a bar complete."""
        share = self.random.choice(["0.50", "0.95", "1.00"])
        for warehouse in self.warehouses:
            warehouse.environment["MIN_DATA_COMPLETENESS"] = share
        self._say(f"MIN_DATA_COMPLETENESS {share}")

    def _has_stocks(self) -> bool:
        return any(self.asset_class(symbol) == "stock" for symbol in self.registry)

    def split(self) -> None:
        """A split becomes known: of the past, of today, or announced."""
        stocks = [symbol for symbol in self._present() if self.asset_class(symbol) == "stock"]
        if not stocks:
            return
        symbol = self.random.choice(stocks)
        days = [
            s.session_date
            for s in sessions("XNYS", self.now.date() - timedelta(days=60), self.now.date() + timedelta(days=3))
        ]
        ex_date = self.random.choice(self.random.choice([days, days[-4:]]))
        self.splits.setdefault(symbol, {})[ex_date] = self.random.choice([(2, 1), (4, 1), (1, 10), (3, 2), (7, 1)])
        self._tell_splits(symbol)
        self._say(f"{symbol} split {self.splits[symbol][ex_date]} on {ex_date}, now {self.now:%Y-%m-%d %H:%M}")

    def retract_split(self) -> None:
        """A split is taken back, or moved by a few days."""
        known = [(symbol, day) for symbol in self._present() for day in self.splits.get(symbol, {})]
        if not known:
            return
        symbol, ex_date = self.random.choice(sorted(known))
        ratio = self.splits[symbol].pop(ex_date)
        later = [s.session_date for s in sessions("XNYS", ex_date + timedelta(days=1), ex_date + timedelta(days=9))]
        moved_to = self.random.choice([None, later[0], later[-1]])
        if moved_to:
            self.splits[symbol][moved_to] = ratio
        self._tell_splits(symbol)
        self._say(f"{symbol} split of {ex_date} {f'moved to {moved_to}' if moved_to else 'retracted'}")

    def split_by_hand(self) -> None:
        """A split is set, struck or given back to the sources: one that is told, or one that nobody knows."""
        stocks = [symbol for symbol in self._present() if self.asset_class(symbol) == "stock"]
        if not stocks:
            return
        symbol, change = self.random.choice(stocks), self.random.choice(["set", "strike", "withdraw"])
        ex_date = self.random.choice([*sorted(self.splits.get(symbol, {})), self.now.date() - timedelta(days=10)])
        for warehouse in self.warehouses:
            warehouse.correct_split(symbol, ex_date, change, (5, 1) if change == "set" else None)
        self._say(f"{symbol} split of {ex_date}: {change} by hand")

    def _tell_splits(self, symbol: str) -> None:
        """Polygon's and Yahoo's answers with all splits of a symbol; sometimes only one of the two is asked."""
        asked = self.random.choice(["both", "both", "polygon", "yahoo"])
        if asked != "yahoo":
            window = (datetime(1970, 1, 1, tzinfo=UTC), self.now + timedelta(days=30))
            payload: Any = payloads.polygon_splits(self.splits[symbol])
            if self.random.random() < 0.2:
                # Told twice, once the wrong way round.
                inverse = {day: (old, new) for day, (new, old) in self.splits[symbol].items()}
                wrong: Any = payloads.polygon_splits(inverse)
                payload["results"] += wrong["results"]
            self.load("polygon", Answer("splits", symbol, payload, window=window))
        for series in [s for s in self.bars if s[:2] == ("yahoo", symbol)]:
            if asked != "polygon":
                self.load("yahoo", self.answer(series, min(self.bars[series]), self.now))

    def samples(self) -> None:
        """Funding, open interest, long/short, liquidations and inflow of a coin, for any past time: often late."""
        coins = [symbol for symbol in self._present() if self.asset_class(symbol) == "crypto"]
        if not coins:
            return
        symbol, pick = self.random.choice(coins), self.random
        kind = pick.choice(
            ["funding", "funding", "open_interest", "open_interest", "long_short_ratio", "liquidations", "inflow"]
        )
        day = self.now.replace(hour=0, minute=0, second=0)
        start = self.now - pick.choice([timedelta(hours=3), timedelta(days=2), timedelta(days=12)])
        if kind == "funding":
            every = pick.choice([4, 8])
            grid = [day - timedelta(days=40) + n * timedelta(hours=every) for n in range(41 * 24 // every)]
            rates = [
                (t + timedelta(milliseconds=pick.randint(0, 47)), Decimal(pick.randint(-30, 60)) / 100000)
                for t in grid
                if (start if pick.random() < 0.5 else day - timedelta(days=40)) <= t <= self.now and pick.random() < 0.9
            ]
            answer = Answer("funding", symbol, payloads.funding(rates))
            if pick.random() < 0.3:
                told = [(t.replace(microsecond=0), rate, every) for t, rate in rates]
                answer = Answer("funding", symbol, payloads.funding_archive(told), origin="archive")
            self.load("binance", answer)
        elif kind in ("open_interest", "long_short_ratio"):
            first = start.replace(minute=0, second=0, microsecond=0)
            period = pick.choice(["5m", "1h"])
            times = [first + n * STEP[period] for n in range(pick.choice([1, 12, 300]))]
            times = [t for t in times if t <= self.now and pick.random() < 0.9]
            if kind == "open_interest":
                values = [
                    (
                        t + timedelta(seconds=pick.choice([0, 0, 2])),
                        Decimal(pick.choice([0, -1, *range(900000, 900050)])) / 10,
                    )
                    for t in times
                ]
                payload = payloads.open_interest(values)
            else:
                shares = [(t, Decimal(pick.randint(3000, 7000)) / 10000) for t in times]
                payload = payloads.long_short_ratio([(t, share, 1 - share) for t, share in shares])
            self.load("binance", Answer(kind, symbol, payload, timeframe=period))
        elif kind == "liquidations":
            first = start.replace(second=0, microsecond=0)
            last = min(self.now, first + pick.choice([timedelta(minutes=31), timedelta(hours=5), timedelta(days=3)]))
            seconds = [pick.randrange(int((last - first).total_seconds()) or 1) for _ in range(pick.choice([0, 5, 60]))]
            events = [
                (first + timedelta(seconds=n), pick.choice(["BUY", "SELL"]), Decimal(pick.randint(1, 9999)) / 1000)
                for n in seconds
            ]
            self.load(
                "binance",
                Answer("liquidations", symbol, payloads.liquidations(events), window=(first, last), origin="stream"),
            )
        else:
            days = {
                (day - timedelta(days=n)).date(): Decimal(pick.randint(1, 10**9)) / 10**5
                for n in range(pick.choice([0, 1]), pick.choice([3, 30]))  # 0: the running day, told before its end
            }
            self.load("coinmetrics", Answer("exchange_inflow", symbol, payloads.exchange_inflow(days)))
        self._say(f"{symbol} {kind} from {start:%m-%d %H:%M}")

    def correct(self) -> None:
        """A bar is corrected by hand, of its own series or of one that is resampled of it; or that is withdrawn."""
        corrected = [key for key in self.corrected if key[0] not in self.absent]
        if corrected and self.random.random() < 0.4:
            key = self.random.choice(corrected)
            self.corrected.remove(key)
            self._correct(key, None)
            self._say(f"{key} corrected no longer")
            return
        series = self._one_series()
        opened = self.random.choice(sorted(self.bars[series]))
        timeframe = series[2]
        if timeframe == "5m" and self.calendar(series[1]) == "24/7" and self.random.random() < 0.3:
            timeframe, opened = "15m", opened.replace(minute=opened.minute // 15 * 15)
        key = (series[1], timeframe, opened)
        self._correct(key, self.make_bar((series[0], series[1], timeframe), opened))
        self.corrected.append(key)
        self._say(f"{key} corrected by hand")

    def _correct(self, key: tuple[str, str, datetime], bar: Bar | None) -> None:
        for warehouse in self.warehouses:
            warehouse.correct(*key, bar)

    def commit(self) -> None:
        """Loads that were not committed now are."""
        for provider, load_id in self.uncommitted:
            for warehouse in self.warehouses:
                warehouse.commit(provider, load_id)
            self._say(f"committed {provider} {load_id}")
        self.uncommitted.clear()

    def step(self) -> list[str]:
        """A few random actions; what happened."""
        before = len(self.journal)
        actions: list[tuple[Callable[[], None], int]] = [
            (self.append, 6), (self.amend, 3), (self.spoil, 2), (self.withdraw, 2), (self.repeat, 1),
            (self.arrive_late, 2), (self.out_of_order, 2), (self.backfill, 2), (self.change_registry, 2),
            (self.list_new, 1), (self.split, 2), (self.retract_split, 2), (self.split_by_hand, 1), (self.samples, 4),
            (self.commit, 1), (self.correct, 2), (self.whole_market, 1), (self.change_sessions, 1), (self.change_setting, 1),
            (self.lose, 1), (self.refuse, 1),
        ]  # fmt: skip
        names, weights = zip(*actions, strict=True)
        wanted = before + self.random.choice([1, 2, 4])
        while len(self.journal) < wanted:
            self.random.choices(names, weights)[0]()
        return self.journal[before:]

    # ------------------------------------------------------------ helpers

    def _reread(self, series: Series, opens: Iterable[datetime], around: int = 2) -> None:
        """An answer from a few bars before these to a few after."""
        chosen, every = list(opens), sorted({*self.bars[series], *opens})
        first = every[max(0, every.index(chosen[0]) - around)]
        last = every[min(len(every) - 1, every.index(chosen[-1]) + around)]
        self.load(series[0], self.answer(series, first, last + timedelta(seconds=1)))

    def _one_series(self) -> Series:
        return self.random.choice(sorted(series for series in self.bars if series[1] not in self.absent))

    def _one_of_minutes(self) -> Series:
        """Also of a symbol that the registry does not list just now."""
        return self.random.choice(sorted(series for series in self.bars if series[2] == "5m"))

    def _some_series(self, share: float) -> list[Series]:
        present = sorted(series for series in self.bars if series[1] not in self.absent)
        return [series for series in present if self.random.random() < share]

    def _present(self) -> list[str]:
        """The symbols that are asked for."""
        return [symbol for symbol in self.registry if symbol not in self.absent]

    def _move_clock(self, span: timedelta) -> None:
        self.now += span
        for warehouse in self.warehouses:
            warehouse.now = self.now

    def _write_registry(self) -> None:
        rows = [row for symbol in self._present() for row in self.registry[symbol]]
        for warehouse in self.warehouses:
            warehouse.assets(rows)

    def _say(self, line: str) -> None:
        self.journal.append(line)


def crypto_history(seed: int, warehouses: Sequence[Warehouse]) -> History:
    """A coin with all its fetched timeframes from three sources, and one that only has hours."""
    return History(
        seed,
        warehouses,
        datetime(2025, 4, 20, 12, 7, tzinfo=UTC),
        {"BTC": [crypto("BTC")], "ETH": [crypto("ETH", "1h")]},
        {
            ("binance", "BTC", "5m"): 520,
            ("polygon", "BTC", "5m"): 100,
            ("binance", "BTC", "1h"): 120,
            ("binance", "BTC", "1d"): 70,
            ("yahoo", "BTC", "1d"): 40,
            # Three sources on one bar: two can outvote the third.
            ("polygon", "BTC", "1d"): 35,
            ("binance", "ETH", "1h"): 300,
            ("yahoo", "ETH", "1h"): 50,
        },
    )


def stock_history(seed: int, warehouses: Sequence[Warehouse]) -> History:
    """A stock with all its fetched timeframes from two sources, and one that only has days; a clock change lies behind
    and a holiday, a half day or another clock change ahead."""
    starts = [
        datetime(2024, 11, 27, 19, 32, tzinfo=UTC),
        datetime(2025, 3, 7, 20, 1, tzinfo=UTC),
        datetime(2024, 7, 2, 13, 58, tzinfo=UTC),
    ]
    return History(
        seed,
        warehouses,
        starts[seed % len(starts)],
        {"AAPL": [stock("AAPL")], "SPY": [stock("SPY", "1d")]},
        {
            ("polygon", "AAPL", "5m"): 300,
            ("yahoo", "AAPL", "5m"): 100,
            ("polygon", "AAPL", "1h"): 180,
            ("yahoo", "AAPL", "1h"): 120,
            ("polygon", "AAPL", "1d"): 90,
            ("yahoo", "AAPL", "1d"): 60,
            ("yahoo", "SPY", "1d"): 80,
        },
    )
