// The page of a series: symbol.html#crypto/BTC/1h. Its bars come as a script, so that it works from a file as well.
"use strict";

Object.assign(warehouse, (() => {
  const { element, badge, duration, level, now } = warehouse;
  const $ = (id) => document.getElementById(id);
  const DAY = 1440;
  const all = {}, loaded = {};
  let features = [], series = null, data = null, chart = null, drawn = null, selected = null;

  // ------------------------------------------------------------ what can be drawn

  const LINES = {
    sma_20: { label: "SMA 20", color: "--gold", of: ["sma_20"], on: true },
    sma_50: { label: "SMA 50", color: "--violet", of: ["sma_50"], on: true },
    vwap_20: { label: "VWAP 20", color: "--gray", of: ["vwap_20"], on: false },
  };
  const PANES = {
    volatility: { label: "Volatility", on: true, lines: { volatility_20: "--blue", volatility_50: "--violet" }, title: "volatility 20 · 50", percent: true },
    atr: { label: "ATR", on: true, lines: { atr: "--gold" }, title: "ATR 14" },
    delta: { label: "Delta", on: true, bars: "delta", title: "delta: bought less sold by takers" },
    funding: { label: "Funding", on: true, lines: { funding_rate: "--down" }, title: "funding rate", percent: true },
    interest: { label: "Open interest", on: true, lines: { open_interest: "--up" }, title: "open interest" },
    ratio: { label: "Long share", on: false, lines: { long_short_ratio: "--violet" }, title: "share of accounts that are long", percent: true },
    spike: { label: "Volume spikes", on: false, bars: "volume_spike_score", title: "volume, standard deviations from its mean" },
  };
  const choices = { continuous: false };
  for (const [name, { on }] of Object.entries({ ...LINES, ...PANES })) choices[name] = on;

  // What is shown of a bar besides its features, with those of a group.
  const FACTS = [
    { name: "funding_rate", group: "Derivatives", unit: "fraction", signed: true, fact: true },
    { name: "open_interest", group: "Derivatives", unit: "volume", signed: false, fact: true },
  ];

  // ------------------------------------------------------------ text

  const at = (epoch) => new Date(epoch * 1000).toISOString().slice(0, 16).replace("T", " ");
  const barTime = (epoch) => (series.minutes >= DAY ? at(epoch).slice(0, 10) : at(epoch));
  function amount(value) {
    if (value === null || value === undefined) return "–";
    const size = Math.abs(value);
    if (size >= 1e9) return `${(value / 1e9).toFixed(2)} bn`;
    if (size >= 1e6) return `${(value / 1e6).toFixed(2)} m`;
    return value.toLocaleString("en-US", { maximumSignificantDigits: size >= 1e5 ? 7 : 6 });
  }
  const price = (value) => (value === null || value === undefined ? "–" : value.toLocaleString("en-US", { minimumFractionDigits: digits(), maximumFractionDigits: digits() }));
  const perCent = (value, signed) => `${signed && value > 0 ? "+" : ""}${(100 * value).toFixed(Math.abs(value) < 0.001 ? 4 : 2)} %`;
  // Enough decimals to distinguish two prices of the series.
  function digits() {
    const last = data.close.findLast((value) => value !== null) ?? 1;
    return last >= 1000 ? 2 : last >= 1 ? (Number.isInteger(Math.round(last * 1e4) / 100) ? 2 : 4) : Math.min(10, 4 - Math.floor(Math.log10(last || 1)));
  }
  function described(value, { unit, signed } = {}) {
    if (value === null || value === undefined) return element("dd", { className: "none", textContent: "NULL" });
    if (typeof value === "string") return element("dd", { textContent: value });
    if (unit === "fraction") return element("dd", { textContent: perCent(value, signed) });
    return element("dd", { textContent: amount(value) });
  }

  // ------------------------------------------------------------ choosing

  const key = (one) => `${one.asset_class}/${one.symbol}/${one.timeframe}`;
  const address = (one) => `#${one.asset_class}/${encodeURIComponent(one.symbol)}/${one.timeframe}`;

  // All series, and the features in the order in which they are shown.
  function offer(list, known) {
    features = known;
    for (const one of list) all[key(one)] = one;
    const select = $("symbol");
    const classes = new Map();
    for (const one of list.filter((other) => other.file)) {
      const symbols = classes.get(one.asset_class) ?? classes.set(one.asset_class, new Set()).get(one.asset_class);
      symbols.add(one.symbol);
    }
    for (const [name, symbols] of [...classes].sort()) {
      const group = element("optgroup", { label: name });
      for (const symbol of symbols) group.append(element("option", { value: `${name}/${symbol}`, textContent: symbol }));
      select.append(group);
    }
    select.addEventListener("change", () => go(select.value.slice(0, select.value.indexOf("/")), select.value.slice(select.value.indexOf("/") + 1)));
    addEventListener("hashchange", show);
    show();
  }

  // The same timeframe of another symbol, or the one nearest to it.
  function go(assetClass, symbol, minutes = series?.minutes ?? DAY) {
    const its = Object.values(all).filter((one) => one.file && one.asset_class === assetClass && one.symbol === symbol);
    const far = (one) => Math.abs(Math.log(one.minutes / minutes));
    const nearest = its.sort((a, b) => far(a) - far(b))[0];
    if (nearest) location.hash = address(nearest);
  }

  function show() {
    const wanted = decodeURIComponent(location.hash.slice(1));
    const first = Object.values(all).find((one) => one.file && one.minutes === DAY) ?? Object.values(all).find((one) => one.file);
    const one = all[wanted] ?? (wanted ? null : first);
    if (!one?.file) {
      message(wanted ? `There are no bars of ${wanted}.` : "There are no bars yet: make extract build");
      document.body.dataset.ready = wanted;
      return;
    }
    series = one;
    document.title = `${one.symbol} ${one.timeframe} · Market warehouse`;
    $("symbol").value = `${one.asset_class}/${one.symbol}`;
    const its = Object.values(all).filter((other) => other.asset_class === one.asset_class && other.symbol === one.symbol && other.file);
    $("timeframes").replaceChildren(...its.map((other) => {
      const input = element("input", { type: "radio", name: "timeframe", value: other.timeframe, checked: other === one });
      input.addEventListener("change", () => { location.hash = address(other); });
      return element("label", {}, input, element("span", { textContent: other.timeframe }));
    }));
    const focused = document.activeElement?.name === "timeframe";
    if (focused) $("timeframes").querySelector("input:checked")?.focus();
    if (loaded[key(one)]) return draw();
    const script = element("script", { src: `data/${one.file}` });
    script.onerror = () => message(`The data file of ${key(one)} is missing: make site`);
    document.body.append(script);
  }

  function message(text) {
    $("chart-message").textContent = text;
    $("chart-message").hidden = !text;
    $("chart").hidden = Boolean(text) && !data;
  }

  // ------------------------------------------------------------ the chart

  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const basis = (i) => (choices.continuous && data.split_factor ? data.split_factor[i] / data.split_factor.at(-1) : 1);
  // Features in price units are in the basis of their own bar, as prices are.
  function points(name) {
    const isPrice = features.some((one) => one.name === name && one.unit === "price");
    return data.t.map((time, i) => {
      const value = data[name][i];
      return value === null || value === undefined ? { time } : { time, value: isPrice ? value * basis(i) : value };
    });
  }

  function draw() {
    data = loaded[key(series)];
    message("");
    describe();
    controls();
    events();
    selected = data.t.length - 1;
    inspect(selected);
    if (!window.LightweightCharts) {
      message("The charting library is not in this site: install Node.js with npm, then run make site. Figures and events are here all the same.");
      $("chart").hidden = true;
    } else {
      paint();
    }
    document.body.dataset.ready = key(series);
  }

  function paint() {
    const L = LightweightCharts;
    const range = chart && drawn === key(series) ? chart.timeScale().getVisibleLogicalRange() : null;
    if (chart) chart.remove();
    const [ink, muted, line] = ["--ink", "--muted", "--line"].map(color);
    chart = L.createChart($("plot"), {
      autoSize: true,
      layout: {
        background: { color: "transparent" }, textColor: muted, fontSize: 11, fontFamily: getComputedStyle(document.body).fontFamily,
        panes: { separatorColor: line, separatorHoverColor: color("--hover"), enableResize: true }, attributionLogo: true,
      },
      grid: { vertLines: { color: line }, horzLines: { color: line } },
      rightPriceScale: { borderColor: line }, timeScale: { borderColor: line, timeVisible: series.minutes < DAY, rightOffset: 4 },
      crosshair: { mode: L.CrosshairMode.Normal, vertLine: { labelBackgroundColor: color("--gray") }, horzLine: { labelBackgroundColor: color("--gray") } },
      localization: { timeFormatter: barTime },
    });
    const [up, down] = ["--up", "--down"].map(color);
    const format = { type: "price", precision: digits(), minMove: 10 ** -digits() };
    const candles = chart.addSeries(L.CandlestickSeries, {
      // Hollow where the close is above the open: distinguishable without colour.
      upColor: color("--card"), borderUpColor: up, wickUpColor: up, downColor: down, borderDownColor: down, wickDownColor: down, priceFormat: format,
    });
    candles.setData(data.t.map((time, i) => data.close[i] === null || data.open[i] === null ? { time }
      : { time, open: data.open[i] * basis(i), high: data.high[i] * basis(i), low: data.low[i] * basis(i), close: data.close[i] * basis(i) }));
    candles.priceScale().applyOptions({ scaleMargins: { top: 0.06, bottom: 0.22 } });
    const volume = chart.addSeries(L.HistogramSeries, { priceScaleId: "volume", priceFormat: { type: "volume" }, lastValueVisible: false, priceLineVisible: false });
    volume.setData(data.t.map((time, i) => ({ time, value: (data.volume[i] ?? 0) / basis(i), color: `${data.close[i] >= data.open[i] ? up : down}66` })));
    volume.priceScale().applyOptions({ scaleMargins: { top: 0.84, bottom: 0 } });
    const thin = { lineWidth: 1.5, priceLineVisible: false, crosshairMarkerVisible: false };
    for (const [name, { label, color: hue }] of Object.entries(LINES)) {
      if (!choices[name] || !data[name]) continue;
      chart.addSeries(L.LineSeries, { ...thin, color: color(hue), title: "", lastValueVisible: false, priceFormat: format }).setData(points(name));
    }
    let pane = 0;
    for (const [name, { lines, bars, title, percent }] of Object.entries(PANES)) {
      const columns = bars ? [bars] : Object.keys(lines);
      if (!choices[name] || !columns.some((column) => data[column])) continue;
      pane += 1;
      const own = percent ? { priceFormat: { type: "custom", formatter: (value) => `${(100 * value).toFixed(Math.abs(value) < 0.002 ? 3 : 1)} %`, minMove: 1e-6 } }
        : { priceFormat: { type: "volume", precision: 2 } };
      for (const column of columns.filter((one) => data[one])) {
        if (bars) {
          chart.addSeries(L.HistogramSeries, { ...own, priceLineVisible: false, lastValueVisible: false }, pane)
            .setData(points(column).map((point) => ({ ...point, color: point.value >= 0 ? up : down })));
        } else {
          chart.addSeries(L.LineSeries, { ...thin, ...own, color: color(lines[column]) }, pane).setData(points(column));
        }
      }
      L.createTextWatermark(chart.panes()[pane], { horzAlign: "left", vertAlign: "top", lines: [{ text: ` ${title}`, color: muted, fontSize: 11, lineHeight: 20 }] });
    }
    chart.panes().forEach((one, place) => one.setStretchFactor(place ? 1 : 4));
    L.createSeriesMarkers(candles, marks().map(({ i, kind, text }) => ({
      time: data.t[i], text,
      ...{ correction: { position: "aboveBar", shape: "circle", color: color("--violet") }, gap: { position: "belowBar", shape: "square", color: color("--bad") },
        split: { position: "belowBar", shape: "arrowUp", color: ink } }[kind],
    })));
    if (range) chart.timeScale().setVisibleLogicalRange(range);
    else chart.timeScale().setVisibleLogicalRange({ from: data.t.length - Math.min(data.t.length, Math.max(60, $("chart").clientWidth / 7)), to: data.t.length + 3 });
    drawn = key(series);
    chart.candles = candles;
    chart.subscribeCrosshairMove(({ time }) => {
      const i = time === undefined ? -1 : place(time);
      inspect(i >= 0 ? i : selected, i >= 0);
    });
  }

  // The first bar at or after an instant.
  function place(time) {
    let low = 0, high = data.t.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (data.t[middle] < time) low = middle + 1; else high = middle;
    }
    return low < data.t.length ? low : -1;
  }

  const ratio = (i) => {
    const factor = data.split_factor[i] / data.split_factor[i - 1];
    return factor >= 1 ? `${Number(factor.toPrecision(4))}:1` : `1:${Number((1 / factor).toPrecision(4))}`;
  };

  // Corrections, gaps and splits as marks on bars, in the order of time.
  function marks() {
    const out = [];
    for (const bar of new Set(data.corrections.map((one) => one.bar))) if (data.t[place(bar)] === bar) out.push({ i: place(bar), kind: "correction", text: "R" });
    for (const gap of data.gaps) {
      const i = place(gap.gap_to);
      if (i > 0) out.push({ i, kind: "gap", text: `${gap.missing} missing`, gap });
    }
    for (let i = 1; data.split_factor && i < data.t.length; i += 1) {
      if (data.split_factor[i] !== data.split_factor[i - 1]) out.push({ i, kind: "split", text: `split ${ratio(i)}` });
    }
    return out.sort((a, b) => a.i - b.i);
  }

  // ------------------------------------------------------------ texts next to the chart

  function describe() {
    const last = data.t.length - 1;
    const change = data.return_1d?.[last];
    $("headline").replaceChildren(`${series.symbol} `, element("span", { className: "muted", textContent: `${series.asset_class} ${series.timeframe} · ${price(data.close[last])}` }));
    if (change !== null && change !== undefined) $("headline").append(element("span", { className: "muted", textContent: ` ${perCent(change, true)} on the session before` }));
    const found = level(series);
    $("facts").replaceChildren(badge(found), ` closed ${duration(now() - series.closed_at)} ago · ${series.bars.toLocaleString("en-US")} bars since ${at(series.first_bar).slice(0, 10)} · quality ${series.quality?.toFixed(2) ?? "–"} · ${series.open_gaps} open gaps · ${series.source_in_use ?? "–"}`);
  }

  function controls() {
    const make = (name, label, hue, possible) => {
      const input = element("input", { type: "checkbox", checked: choices[name], disabled: !possible });
      input.addEventListener("change", () => { choices[name] = input.checked; if (window.LightweightCharts) paint(); });
      return possible ? element("label", {}, input, hue ? Object.assign(element("i"), { style: `background:${color(hue)}` }) : null, label) : null;
    };
    const made = [
      ...Object.entries(LINES).map(([name, { label, color: hue }]) => make(name, label, hue, data[name])),
      ...Object.entries(PANES).map(([name, { label, lines, bars }]) => make(name, label, null, (bars ? [bars] : Object.keys(lines)).some((column) => data[column]))),
      make("continuous", "Adjusted for splits", null, data.split_factor?.some((factor) => factor !== data.split_factor[0])),
    ];
    $("toggles").replaceChildren(...made.filter(Boolean));
  }

  function inspect(i, hovered = false) {
    if (hovered) selected = i;
    const row = ({ name, fact, ...shown }) => [
      element("dt", {}, fact || !document.querySelector('nav a[href="features.html"]') ? name : element("a", { href: `features.html#${name}`, textContent: name })),
      described(data[name]?.[i], shown),
    ];
    $("bar-time").textContent = `${barTime(data.t[i])} UTC`;
    const valid = !data.is_validated || data.is_validated[i];
    const quality = data.quality_score?.[i];
    const parts = [
      element("dl", { className: "ohlc" }, ...["open", "high", "low", "close"].flatMap((name) => [element("dt", { textContent: name }), element("dd", { textContent: price(data[name][i]) })])),
      element("dl", {}, element("dt", { textContent: "volume" }), described(data.volume?.[i]),
        element("dt", { textContent: "source" }), element("dd", { textContent: data.source?.[i] ?? "–" }),
        element("dt", { textContent: "quality" }), element("dd", {}, `${quality === undefined || quality === null ? "–" : Number(quality).toFixed(2)} `, element("span", { className: `badge ${valid ? "ok" : "bad"}`, textContent: valid ? "passed" : "not valid" })),
        ...(data.split_factor && data.split_factor[i] !== 1 ? [element("dt", { textContent: "split factor" }), element("dd", { textContent: amount(data.split_factor[i]) })] : []),
        element("dt", { textContent: "revision" }), element("dd", { textContent: String(data.revision?.[i] ?? 1) })),
    ];
    if (data.notes?.[i]) parts.push(element("p", { className: "small muted", textContent: data.notes[i] }));
    const history = data.corrections.filter((one) => one.bar === data.t[i]);
    if (history.length) parts.push(element("h3", { textContent: "Revisions" }), element("ul", { className: "history" }, ...history.map((one) => element("li", { textContent: correction(one) }))));
    const groups = element("div", { className: "groups" });
    for (const name of new Set(features.map((one) => one.group))) {
      const there = [...FACTS, ...features].filter((one) => one.group === name && (series.asset_class === "crypto" || data[one.name]));
      if (there.length) groups.append(element("div", {}, element("h3", { textContent: name }), element("dl", {}, ...there.flatMap(row))));
    }
    $("bar").replaceChildren(...parts, groups);
    $("bar").dataset.time = data.t[i];
  }

  const exact = (value) => (value === null ? "–" : value.toLocaleString("en-US", { maximumSignificantDigits: 12 }));
  const correction = (one) => `${one.field}: ${exact(one.old)} → ${exact(one.new)} (${one.reason.replaceAll("_", " ")}, ${one.corrected_by}, ${at(one.at)})`;

  function events() {
    const rows = marks().reverse().flatMap(({ i, kind, gap, text }) => {
      const name = { correction: "corrected", gap: "gap", split: "split" }[kind];
      const words = kind === "correction" ? data.corrections.filter((one) => one.bar === data.t[i]).map(correction)
        : [kind === "gap" ? `${gap.missing} bars missing from ${at(gap.gap_from)}: ${gap.verdict}, ${gap.state}. ${gap.evidence ?? ""}` : text];
      const button = element("button", { type: "button", textContent: barTime(data.t[i]) });
      button.addEventListener("click", () => reveal(i));
      return words.map((word, n) => element("tr", {}, element("td", { className: "figures" }, n ? "" : button), element("td", { textContent: name }), element("td", { textContent: word })));
    });
    const head = element("thead", {}, element("tr", {}, ...["Bar", "What", "Details"].map((textContent) => element("th", { scope: "col", textContent }))));
    const scroll = element("div", { className: "scroll", tabIndex: 0, ariaLabel: "Events, one row each" }, element("table", {}, head, element("tbody", {}, ...rows)));
    scroll.setAttribute("role", "region");
    $("events").replaceChildren(rows.length ? scroll : element("p", { className: "empty", textContent: "None: no correction, no gap, no split." }));
  }

  // Bring a bar into view and point at it.
  function reveal(i) {
    selected = i;
    inspect(i);
    if (!chart) return;
    const seen = chart.timeScale().getVisibleLogicalRange();
    if (seen && (i < seen.from || i > seen.to)) {
      const half = (seen.to - seen.from) / 2;
      chart.timeScale().setVisibleLogicalRange({ from: i - half, to: i + half });
    }
    if (data.close[i] !== null) chart.setCrosshairPosition(data.close[i] * basis(i), data.t[i], chart.candles);
  }

  $("chart").addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -20, PageDown: 20, Home: -Infinity, End: Infinity };
    if (!(event.key in steps) || !data) return;
    event.preventDefault();
    reveal(Math.min(data.t.length - 1, Math.max(0, selected + steps[event.key])));
  });
  $("chooser").addEventListener("submit", (event) => event.preventDefault());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (chart) { controls(); paint(); } });

  return {
    series: offer,
    bars(name, columns) { loaded[name] = columns; if (series && key(series) === name) draw(); },
  };
})());
