"""Gaps that dbt found are asked for: from a source that has not answered for them yet, each once."""

from __future__ import annotations

from tests.extract.conftest import BTC, Market

BAR_GAPS = """
create schema if not exists marts;
create table marts.bar_gaps (
    symbol text, asset_class text, timeframe text, gap_from timestamptz, gap_to timestamptz, repair_state text
);
insert into marts.bar_gaps values
('BTC', 'crypto', '1h', '2013-02-10 03:00Z', '2013-02-10 06:00Z', 'open'),
('BTC', 'crypto', '1h', '2013-02-11 03:00Z', '2013-02-11 06:00Z', 'none'),
('BTC', 'crypto', '1h', '2011-02-11 03:00Z', '2011-02-11 06:00Z', 'open');
"""


def test_a_hole_of_one_source_is_asked_of_the_next_and_what_nobody_was_asked_of_the_first(market: Market) -> None:
    market.run("extract")
    market.execute(BAR_GAPS)
    output = market.run("extract")
    assert "BTC 1h repair: 3 rows from binance" in output and "BTC 1h repair: 3 rows from polygon" in output
    (polygon,) = market.rows("polygon", "endpoint = 'bars'")
    assert polygon["window_start"].isoformat() == "2013-02-10T03:00:00+00:00"
    market.asked()
    output = market.run("extract")
    # Polygon has answered; Yahoo is the last that has not.
    assert "BTC 1h repair: 3 rows from yahoo" in output
    assert "repair" not in market.run("extract"), "every source has answered: there is nobody left to ask"


def test_a_repair_that_fails_is_no_failure_of_the_series(market: Market) -> None:
    market.assets({**BTC, "source_priority": "binance yahoo"})
    market.run("extract")
    market.execute(BAR_GAPS)
    market.simulator.add_fault(kind="status", status=404, provider="yahoo", endpoint="bars")
    assert "BTC 1h repair: not all of it from yahoo" in market.run("extract")
