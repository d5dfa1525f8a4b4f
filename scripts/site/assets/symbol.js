// The page of a series: symbol.html#crypto/BTC/1h, or #crypto/BTC/1h@1361232000 for a bar of it. Its bars come in pieces, as
// scripts, so that it works from a file as well; the pieces of what is looked at are loaded, and no others.
"use strict";

(() => {
  const { element, badge, duration, level, now, key, address, perCent } = warehouse;
  const $ = (id) => document.getElementById(id);
  const all = {}, heads = {}, pieces = {};
  let features = [], quotes = {}, series = null, other = null, data = null, chart = null, drawn = [], titles = [], selected = 0;
  // The pieces that `data` joins, as places in the list of the series' head.
  let from = 0, to = 0, pendingRange = null, turn = 0;

  const DAY = 86_400;
  const RANGES = { "1D": DAY, "1M": 31 * DAY, "1Y": 366 * DAY, All: Infinity };
  // Fewer bars than the first say nothing, more than the second are thinner than a pixel: another timeframe serves better.
  const FEWEST = 12, MOST = 6_000, FIRST_BARS = 400;
  const COLORS = ["--gold", "--violet", "--blue", "--up", "--down", "--gray"];
  const FIRST_CHOSEN = ["sma_20", "sma_50", "volatility_20", "volatility_50", "delta", "funding_rate"];
  // Columns of a bar besides its features, drawn and listed like these.
  const FACTS = [
    { name: "funding_rate", group: "Derivatives", unit: "fraction", signed: true, fact: true },
    { name: "open_interest", group: "Derivatives", unit: "volume", signed: false, fact: true },
  ];
  const USUAL = { split_factor: 1, is_validated: true, revision: 1 };
  const isTold = (value) => value !== null && value !== undefined;

  // What the reader chose stays for all series; where storage is denied, it lasts as long as the page.
  const kept = (() => { try { return window.localStorage; } catch { return null; } })();
  const chosen = new Set(JSON.parse(kept?.getItem("features") ?? "null") ?? FIRST_CHOSEN);
  function keep() { try { kept?.setItem("features", JSON.stringify([...chosen])); } catch { /* denied: see above */ } }

  // ------------------------------------------------------------ text

  const at = (epoch) => new Date(epoch * 1000).toISOString().slice(0, 16).replace("T", " ");
  const barTime = (epoch) => (series.minutes >= 1440 ? at(epoch).slice(0, 10) : at(epoch));
  function amount(value) {
    if (!isTold(value)) return "–";
    const size = Math.abs(value);
    const sign = value < 0 ? "−" : "";
    if (size >= 1e9) return `${sign}${(size / 1e9).toFixed(2)} bn`;
    if (size >= 1e6) return `${sign}${(size / 1e6).toFixed(2)} m`;
    return sign + size.toLocaleString("en-US", { maximumSignificantDigits: size >= 1e5 ? 7 : 6 });
  }
  const price = (value) => (isTold(value) ? value.toLocaleString("en-US", { minimumFractionDigits: digits(), maximumFractionDigits: digits() }) : "–");
  // Enough decimals to distinguish two prices of the series.
  function digits() {
    const last = data.close.findLast(isTold) ?? 1;
    return last >= 1000 ? 2 : last >= 1 ? (Number.isInteger(Math.round(last * 1e4) / 100) ? 2 : 4) : Math.min(10, 4 - Math.floor(Math.log10(last || 1)));
  }
  function words(value, { unit, signed } = {}) {
    if (!isTold(value)) return "NULL";
    if (typeof value === "string") return value;
    return unit === "fraction" ? perCent(value, signed) : amount(value);
  }
  const described = (value, feature) => element("dd", { className: isTold(value) ? "" : "none", textContent: words(value, feature) });

  // ------------------------------------------------------------ files

  const scripts = {};
  function load(path) {
    scripts[path] ??= new Promise((resolve, reject) => {
      const script = element("script", { src: `data/${path}` });
      script.onload = resolve;
      script.onerror = () => { delete scripts[path]; reject(new Error(`${path} is missing: make site`)); };
      document.body.append(script);
    });
    return scripts[path];
  }
  Object.assign(warehouse, {
    head(name, content) { heads[name] = content; pieces[name] = {}; },
    piece(name, start, columns) { pieces[name][start] = columns; },
  });
  const loadHead = (one) => load(`${one.folder}/head.js`);
  const loadPieces = (one, first, last) => Promise.all(heads[key(one)].pieces.slice(first, last + 1).map(([name]) => load(`${one.folder}/${name}.js`)));

  // Pieces as one run of columns. What a piece leaves out says nothing, or is the same for all of its bars.
  function join(one, first, last) {
    const parts = heads[key(one)].pieces.slice(first, last + 1).map(([name]) => pieces[key(one)][name]);
    const out = {};
    for (const name of new Set(parts.flatMap(Object.keys))) {
      out[name] = parts.flatMap((part) => (Array.isArray(part[name]) ? part[name] : Array(part.t.length).fill(part[name] ?? USUAL[name] ?? null)));
    }
    return out;
  }
  // The piece that holds an instant, or the next one.
  function pieceOf(one, time) {
    const list = heads[key(one)].pieces;
    const place = list.findIndex(([, , last]) => last >= time);
    return place < 0 ? list.length - 1 : place;
  }
  // Today's shares are those of the newest bar, which is always loaded.
  function today(one) {
    const newest = pieces[key(one)][heads[key(one)].pieces.at(-1)[0]];
    return newest.split_factor?.at(-1) ?? 1;
  }

  // ------------------------------------------------------------ choosing

  const siblings = (one) => Object.values(all).filter((it) => it.folder && it.asset_class === one.asset_class && it.symbol === one.symbol).sort((a, b) => a.minutes - b.minutes);

  function offer({ list, features: known, quotes: prices }) {
    features = known;
    quotes = prices;
    for (const one of list) all[key(one)] = one;
    const classes = new Map();
    for (const one of list.filter((it) => it.folder)) {
      if (!classes.has(one.asset_class)) classes.set(one.asset_class, new Set());
      classes.get(one.asset_class).add(one.symbol);
    }
    for (const select of [$("symbol"), $("compare")]) {
      for (const [name, symbols] of [...classes].sort()) {
        const group = element("optgroup", { label: name });
        for (const symbol of symbols) group.append(element("option", { value: `${name}/${symbol}`, textContent: symbol }));
        select.append(group);
      }
    }
    $("symbol").addEventListener("change", () => go(...split($("symbol").value)));
    $("compare").addEventListener("change", () => compare($("compare").value));
    addEventListener("hashchange", show);
    show();
  }
  const split = (name) => [name.slice(0, name.indexOf("/")), name.slice(name.indexOf("/") + 1)];
  const nearest = (its, minutes) => its.sort((a, b) => Math.abs(Math.log(a.minutes / minutes)) - Math.abs(Math.log(b.minutes / minutes)))[0];

  // The same timeframe of another symbol, or the one nearest to it.
  function go(assetClass, symbol) {
    const one = nearest(Object.values(all).filter((it) => it.folder && it.asset_class === assetClass && it.symbol === symbol), series?.minutes ?? 1440);
    if (one) location.hash = address(one);
  }

  // Every step that waits looks whether the reader has gone elsewhere meanwhile.
  async function show() {
    const mine = ++turn;
    const [, wanted, , bar] = /^#?(.*?)(@(\d+))?$/.exec(location.hash).map((part) => (part ? decodeURIComponent(part) : ""));
    const first = Object.values(all).find((one) => one.folder && one.timeframe === "1d") ?? Object.values(all).find((one) => one.folder);
    const one = all[wanted] ?? (wanted ? null : first);
    if (!one?.folder) {
      message(wanted ? `There are no bars of ${wanted}.` : "There are no bars yet: make extract build");
      document.body.dataset.ready = wanted;
      return;
    }
    const range = pendingRange;
    pendingRange = null;
    try {
      await loadHead(one);
      const newest = heads[key(one)].pieces.length - 1;
      await loadPieces(one, newest, newest);
      const isOther = series !== one;
      if (mine !== turn) return;
      if (isOther) {
        series = one;
        data = null;
        [from, to] = [newest, newest];
        while (from > 0 && heads[key(one)].pieces.slice(from, to + 1).reduce((sum, [, , , bars]) => sum + bars, 0) < FIRST_BARS) from -= 1;
        await loadPieces(one, from, to);
        if (mine !== turn) return;
        if (other) await follow();
        if (mine !== turn) return;
      }
      if (isOther || !data) {
        draw();
        press(range ?? "");
      }
      if (range) await setRange(range);
      if (bar) await reveal(Number(bar));
    } catch (error) {
      message(error.message);
    }
    if (mine === turn) document.body.dataset.ready = key(one);
  }

  function message(text) {
    $("chart-message").textContent = text;
    $("chart-message").hidden = !text;
    $("chart").hidden = Boolean(text) && !chart;
  }

  // ------------------------------------------------------------ the chart

  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const factor = (i) => ($("adjusted").checked || other) && data.split_factor ? data.split_factor[i] / today(series) : 1;
  const drawable = () => [...features, ...FACTS].filter(({ unit, name }) => unit !== "word" && data[name]);

  // A price like the price is drawn on it; a range such as atr is in its unit, but on a scale of its own.
  function isOnPrice({ name, unit }) {
    const i = data[name].findLastIndex((value, place) => isTold(value) && isTold(data.close[place]));
    return unit === "price" && i >= 0 && Math.abs(data[name][i] / data.close[i] - 1) < 0.5;
  }
  // Features in price units are in the basis of their own bar, as prices are.
  const points = ({ name, unit }) => data.t.map((time, i) => (isTold(data[name]?.[i]) ? { time, value: unit === "price" ? data[name][i] * factor(i) : data[name][i] } : { time }));

  function draw() {
    data = join(series, from, to);
    message("");
    document.title = `${series.symbol} ${series.timeframe} · Market warehouse`;
    choices();
    describe();
    controls();
    events();
    selected = data.t.length - 1;
    inspect(selected);
    if (window.LightweightCharts) paint();
    else {
      message(`The charting library is not in this site: ${$("chart-message").dataset.remedy}. Figures and events are here all the same.`);
      $("chart").hidden = true;
    }
  }

  function paint(visible = null) {
    const L = LightweightCharts;
    chart?.remove();
    const [muted, line, up, down] = ["--muted", "--line", "--up", "--down"].map(color);
    chart = L.createChart($("plot"), {
      autoSize: true,
      layout: {
        background: { color: "transparent" }, textColor: muted, fontSize: 11, fontFamily: getComputedStyle(document.body).fontFamily,
        panes: { separatorColor: line, separatorHoverColor: color("--hover"), enableResize: true },
        // It lay on the lowest pane's line; the footer has the notice and the link that the licence asks for.
        attributionLogo: false,
      },
      grid: { vertLines: { color: line }, horzLines: { color: line } },
      rightPriceScale: { borderColor: line, minimumWidth: 72 },
      timeScale: { borderColor: line, timeVisible: series.minutes < 1440, rightOffset: 4, minBarSpacing: 0.05 },
      crosshair: { mode: L.CrosshairMode.Normal, vertLine: { labelBackgroundColor: color("--gray") }, horzLine: { labelBackgroundColor: color("--gray") } },
      localization: { timeFormatter: barTime },
    });
    drawn = [];
    titles = [[]];
    const add = (type, options, pane, fill, title = null) => {
      const made = chart.addSeries(type, { priceLineVisible: false, lastValueVisible: false, ...options }, pane);
      drawn.push({ made, fill });
      if (title) (titles[pane] ??= []).push(title);
      return made;
    };
    const format = { type: "price", precision: digits(), minMove: 10 ** -digits() };
    const thin = { lineWidth: 1.5, crosshairMarkerVisible: false };
    const candles = add(L.CandlestickSeries, {
      // Hollow where the close is above the open: distinguishable without colour.
      upColor: color("--card"), borderUpColor: up, wickUpColor: up, downColor: down, borderDownColor: down, wickDownColor: down, priceFormat: format,
    }, 0, () => data.t.map((time, i) => (!isTold(data.close[i]) || !isTold(data.open[i]) ? { time }
      : { time, open: data.open[i] * factor(i), high: data.high[i] * factor(i), low: data.low[i] * factor(i), close: data.close[i] * factor(i) })));
    add(L.HistogramSeries, { priceScaleId: "volume", priceFormat: { type: "volume" } }, 0,
      // An index has no volume: a bar of nothing, not of 0.
      () => data.t.map((time, i) => (!isTold(data.volume[i]) ? { time } : { time, value: data.volume[i] / factor(i), color: `${data.close[i] >= data.open[i] ? up : down}66` })))
      .priceScale().applyOptions({ scaleMargins: { top: 0.84, bottom: 0 } });
    titles[0].push({ label: `${series.symbol} ${series.timeframe}${other ? ", change from the left edge" : ""}`, value: (i) => price(isTold(data.close[i]) ? data.close[i] * factor(i) : null) });
    if (other) {
      add(L.LineSeries, { ...thin, lineWidth: 2, color: color("--blue"), lastValueVisible: true, priceFormat: format }, 0, compared,
        { label: other.symbol, hue: "--blue", value: (i) => { const [point] = compared(i); return isTold(point.value) ? amount(point.value) : "–"; } });
    }
    // One pane for features of one name but for a number at its end: volatility_20 and volatility_50.
    const places = new Map();
    let onPrice = 0;
    for (const feature of drawable().filter(({ name }) => chosen.has(name))) {
      const isOverlay = isOnPrice(feature);
      // In per cent each line would start at its own value: an average would seem to leave its price.
      if (isOverlay && other) continue;
      const stem = feature.name.replace(/_\d+$/, "");
      if (!isOverlay && !places.has(stem)) places.set(stem, { pane: places.size + 1, lines: 0 });
      const place = isOverlay ? { pane: 0, lines: onPrice++ } : places.get(stem);
      const hue = COLORS[(isOverlay ? place.lines : place.pane + 1 + place.lines) % COLORS.length];
      place.lines += 1;
      const own = feature.unit === "fraction"
        ? { priceFormat: { type: "custom", formatter: (value) => `${(100 * value).toFixed(Math.abs(value) < 0.002 ? 3 : 1)} %`, minMove: 1e-6 } }
        : { priceFormat: isOverlay ? format : { type: "custom", formatter: amount, minMove: 1e-6 } };
      const title = { label: feature.name, hue, value: (i) => (isTold(data[feature.name]?.[i]) ? words(data[feature.name][i] * (feature.unit === "price" ? factor(i) : 1), feature) : "–") };
      if (feature.signed && feature.unit === "volume") add(L.HistogramSeries, own, place.pane, () => points(feature).map((point) => ({ ...point, color: point.value >= 0 ? up : down })), title);
      else add(L.LineSeries, { ...thin, ...own, color: color(hue) }, place.pane, () => points(feature), title);
    }
    // Of each pane: what is set of the first one is what a new one begins with.
    const mode = other ? L.PriceScaleMode.Percentage : $("log").checked ? L.PriceScaleMode.Logarithmic : L.PriceScaleMode.Normal;
    chart.panes().forEach((one, place) => one.priceScale("right").applyOptions({ mode: place ? L.PriceScaleMode.Normal : mode }));
    $("chart").style.minHeight = `${(innerWidth < 720 ? 360 : 470) + 110 * places.size}px`;
    chart.panes().forEach((one, place) => one.setStretchFactor(place ? 110 : innerWidth < 720 ? 360 : 470));
    chart.candles = candles;
    chart.marks = L.createSeriesMarkers(candles, []);
    fill();
    const width = Math.max(60, $("chart").clientWidth / 7);
    chart.timeScale().setVisibleLogicalRange(visible ?? { from: data.t.length - Math.min(data.t.length, width), to: data.t.length + 3 });
    chart.subscribeCrosshairMove(({ time, sourceEvent }) => {
      // Only what the reader points at: the chart calls for its own reasons, too, as when its range changes.
      if (!sourceEvent || !isMoved) return;
      const i = time === undefined ? -1 : place(time);
      inspect(i >= 0 ? i : selected, i >= 0);
    });
    chart.timeScale().subscribeVisibleLogicalRangeChange(fetchMore);
    const watcher = new ResizeObserver(layOut);
    for (const one of [$("plot"), ...chart.panes().map((pane) => pane.getHTMLElement())]) if (one) watcher.observe(one);
    requestAnimationFrame(layOut);
  }

  function fill() {
    for (const { made, fill: values } of drawn) made.setData(values());
    const [violet, bad, ink] = ["--violet", "--bad", "--ink"].map(color);
    const shapes = {
      correction: { position: "aboveBar", shape: "circle", color: violet }, gap: { position: "belowBar", shape: "square", color: bad },
      split: { position: "belowBar", shape: "arrowUp", color: ink },
    };
    // The newest price at the axis, in its own colour: the series' own label would be as hollow as a rising candle.
    if (chart.newest) chart.candles.removePriceLine(chart.newest);
    const i = data.close.findLastIndex(isTold), hue = color(data.close[i] >= data.open[i] ? "--rise" : "--fall");
    chart.newest = i < 0 ? null : chart.candles.createPriceLine({ price: data.close[i] * factor(i), color: hue, lineVisible: false, axisLabelColor: hue, axisLabelTextColor: color("--card") });
    // Where marks would lie on each other, their words are in the list of events.
    const found = marks(), isDense = found.length > 40;
    chart.marks.setMarkers(found.map(({ i, kind, text }) => ({ time: data.t[i], text: isDense && kind !== "split" ? "" : text, ...shapes[kind] })));
    $("loaded").textContent = `${data.t.length.toLocaleString("en-US")} of ${series.bars.toLocaleString("en-US")} bars loaded`;
  }

  // Titles stand above what is drawn: each pane leaves room for its own.
  function layOut() {
    if (!chart || !data) return;
    const box = $("titles");
    const top = $("chart").getBoundingClientRect().top;
    const panes = chart.panes();
    box.replaceChildren(...panes.map((pane, n) => {
      const bounds = pane.getHTMLElement()?.getBoundingClientRect();
      const made = element("p", {}, ...(titles[n] ?? []).map(({ label, hue, value }) => {
        const figure = element("b", {});
        figure.show = (i) => { figure.textContent = value(i); };
        return element("span", {}, hue ? Object.assign(element("i"), { style: `background:${color(hue)}` }) : null, `${label} `, figure);
      }));
      if (bounds) made.style.top = `${bounds.top - top + 3}px`;
      return made;
    }));
    // Before their height is measured: with their figures they may take two lines.
    tellTitles(selected);
    panes.forEach((pane, n) => {
      const height = Math.max(40, pane.getHeight()), title = box.children[n]?.offsetHeight ?? 20;
      pane.priceScale("right").applyOptions({ scaleMargins: { top: Math.min(0.45, (title + 6) / height), bottom: n ? 0.06 : 0.2 } });
    });
  }
  function tellTitles(i) { for (const figure of document.querySelectorAll("#titles b")) figure.show(i); }

  // The first bar at or after an instant.
  function place(time, times = data.t) {
    let low = 0, high = times.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (times[middle] < time) low = middle + 1; else high = middle;
    }
    return low < times.length ? low : -1;
  }

  // ------------------------------------------------------------ pieces as they are needed

  // Have the bars of these pieces; what is in view stays where it is.
  async function need(first, last) {
    const list = heads[key(series)].pieces;
    first = Math.max(0, first);
    last = Math.min(list.length - 1, last);
    // Pieces that follow each other join; others take the place of what was there.
    const isApart = first > to + 1 || last < from - 1;
    if (!isApart) [first, last] = [Math.min(first, from), Math.max(last, to)];
    if (first === from && last === to) return;
    const mine = turn;
    await loadPieces(series, first, last);
    if (mine !== turn) return;
    const shift = isApart ? null : list.slice(first, from).reduce((sum, [, , , bars]) => sum + bars, 0);
    [from, to] = [first, last];
    const visible = chart?.timeScale().getVisibleLogicalRange();
    const columns = Object.keys(data).length;
    data = join(series, from, to);
    selected = shift === null ? data.t.length - 1 : selected + shift;
    if (other) await follow();
    choices();
    if (!chart) return;
    const moved = visible && shift !== null ? { from: visible.from + shift, to: visible.to + shift } : null;
    // A feature may have its first value in these pieces, and with it a pane.
    if (Object.keys(data).length !== columns) return paint(moved);
    fill();
    if (moved) chart.timeScale().setVisibleLogicalRange(moved);
  }

  let isFetching = false;
  async function fetchMore(range) {
    if (!range || isFetching || !data) return;
    const isLeft = range.from < 30 && from > 0, isRight = range.to > data.t.length && to < heads[key(series)].pieces.length - 1;
    if (!isLeft && !isRight) return;
    isFetching = true;
    try { await need(isLeft ? from - 1 : from, isRight ? to + 1 : to); } catch (error) { message(error.message); } finally { isFetching = false; }
  }

  function press(range) {
    for (const button of $("ranges").children) button.setAttribute("aria-pressed", String(button.value === range));
  }

  // A range is shown in the timeframe that has a readable number of bars in it: this one if it has.
  function range(name) {
    const span = RANGES[name];
    const bars = (one) => (span === Infinity ? one.bars : Math.min(one.bars, one.bars * (span / Math.max(60 * one.minutes, one.newest_bar - one.first_bar))));
    const fits = (one) => bars(one) >= FEWEST && bars(one) <= MOST;
    const its = siblings(series);
    let one = series;
    if (!fits(series)) {
      const possible = its.filter(fits);
      const earliest = Math.min(...possible.map((it) => it.first_bar));
      const whole = span === Infinity ? possible.filter((it) => it.first_bar <= earliest + 14 * DAY) : possible;
      one = whole.sort((a, b) => Math.abs(Math.log(bars(a) / FIRST_BARS)) - Math.abs(Math.log(bars(b) / FIRST_BARS)))[0] ?? series;
    }
    if (one === series) return setRange(name);
    pendingRange = name;
    location.hash = address(one);
  }

  async function setRange(name) {
    press(name);
    const list = heads[key(series)].pieces, last = list.at(-1)[2];
    const start = RANGES[name] === Infinity ? list[0][1] : last - RANGES[name];
    isFetching = true;
    try { await need(pieceOf(series, start), list.length - 1); } finally { isFetching = false; }
    const first = place(start);
    chart?.timeScale().setVisibleLogicalRange({ from: first - 0.5, to: data.t.length + Math.max(1, (data.t.length - first) * 0.02) });
  }

  // Bring the bar at an instant into view and point at it.
  async function reveal(time) {
    const list = heads[key(series)].pieces, piece = pieceOf(series, time);
    if (piece < from || piece > to) {
      // From far away only the neighbourhood: a year of 5m bars is not loaded to see one of them.
      const isNear = piece >= from - 3 && piece <= to + 3;
      isFetching = true;
      try { await (isNear ? need(piece, to) : need(piece - 1, Math.min(list.length - 1, piece + 1))); } finally { isFetching = false; }
    }
    const found = place(time);
    point(found < 0 ? data.t.length - 1 : found);
  }

  function point(i) {
    selected = i;
    inspect(i);
    if (!chart) return;
    const seen = chart.timeScale().getVisibleLogicalRange();
    if (seen && (i < seen.from || i > seen.to)) {
      const half = (seen.to - seen.from) / 2;
      chart.timeScale().setVisibleLogicalRange({ from: i - half, to: i + half });
    }
    // In the next frame, in which the chart has its new range.
    const on = chart, time = data.t[i], height = isTold(data.close[i]) ? data.close[i] * factor(i) : null;
    requestAnimationFrame(() => { if (on === chart && height !== null) chart.setCrosshairPosition(height, time, chart.candles); });
  }

  // ------------------------------------------------------------ a second symbol

  let others = { t: [], close: [] };
  async function compare(name) {
    const [assetClass, symbol] = split(name);
    other = name ? nearest(Object.values(all).filter((it) => it.folder && it.asset_class === assetClass && it.symbol === symbol), series.minutes) : null;
    try { if (other) await follow(); } catch (error) { other = null; message(error.message); }
    controls();
    if (chart) paint(chart.timeScale().getVisibleLogicalRange());
  }
  // The other symbol's bars of the same time, in today's shares.
  async function follow() {
    other = nearest(siblings(other), series.minutes);
    await loadHead(other);
    const list = heads[key(other)].pieces;
    const first = Math.max(0, pieceOf(other, data?.t[0] ?? heads[key(series)].pieces[from][1]) - 1);
    const last = pieceOf(other, data?.t.at(-1) ?? heads[key(series)].pieces[to][2]);
    await Promise.all([loadPieces(other, first, last), loadPieces(other, list.length - 1, list.length - 1)]);
    others = join(other, first, last);
  }
  // Its close as of each bar, so that two calendars share one axis.
  function compared(only = null) {
    const one = (i) => {
      const after = place(data.t[i] + 1, others.t), last = (after < 0 ? others.t.length : after) - 1;
      const value = last >= 0 && data.t[i] - others.t[last] < 7 * DAY + 60 * series.minutes ? others.close[last] : null;
      return isTold(value) ? { time: data.t[i], value: value * ((others.split_factor?.[last] ?? 1) / today(other)) } : { time: data.t[i] };
    };
    return only === null ? data.t.map((_, i) => one(i)) : [one(only)];
  }

  // ------------------------------------------------------------ texts next to the chart

  function describe() {
    const [last, change, bar] = quotes[`${series.asset_class}/${series.symbol}`] ?? [null, null, null];
    const course = change > 0 ? "up" : change < 0 ? "down" : "";
    $("headline").replaceChildren(`${series.symbol} `, element("span", { className: "muted", textContent: `${series.asset_class} · ${series.timeframe}` }));
    $("quote").replaceChildren(element("strong", { className: course, textContent: price(last) }),
      element("span", { className: course, textContent: isTold(change) ? perCent(change, true) : "" }),
      element("span", { className: "muted small", textContent: isTold(bar) ? `on the session before · bar of ${at(bar)} UTC` : "" }));
    $("facts").replaceChildren(badge(level(series)), ` closed ${duration(now() - series.closed_at)} ago · ${series.bars.toLocaleString("en-US")} bars since ${at(series.first_bar).slice(0, 10)} · quality ${series.quality?.toFixed(2) ?? "–"} · ${series.open_gaps} open gaps · ${series.source_in_use ?? "–"}`);
  }

  function controls() {
    $("symbol").value = `${series.asset_class}/${series.symbol}`;
    $("compare").value = other ? `${other.asset_class}/${other.symbol}` : "";
    const hadFocus = document.activeElement?.name === "timeframe";
    $("timeframes").replaceChildren(...siblings(series).map((one) => {
      const input = element("input", { type: "radio", name: "timeframe", value: one.timeframe, checked: one === series });
      input.addEventListener("change", () => { location.hash = address(one); });
      return element("label", {}, input, element("span", { textContent: one.timeframe }));
    }));
    if (hadFocus) $("timeframes").querySelector("input:checked")?.focus();
    $("adjusted-label").hidden = !heads[key(series)].splits.length;
    $("log").disabled = Boolean(other);
    $("adjusted").disabled = Boolean(other);
  }

  // The list of features, by group; those without a value in the loaded bars cannot be drawn.
  function choices() {
    const typed = $("features-filter").value.trim().toLowerCase();
    const known = [...features, ...FACTS].filter(({ unit, name }) => unit !== "word" && (series.asset_class === "crypto" || data[name]));
    const groups = [...new Set(known.map(({ group }) => group))];
    $("features-list").replaceChildren(...groups.flatMap((group) => {
      const fitting = known.filter((one) => one.group === group && one.name.includes(typed));
      return fitting.length ? [element("fieldset", {}, element("legend", { textContent: group }), ...fitting.map(({ name }) => {
        const input = element("input", { type: "checkbox", value: name, checked: chosen.has(name), disabled: !data[name] });
        input.addEventListener("change", () => {
          chosen[input.checked ? "add" : "delete"](name);
          keep();
          count();
          if (chart) paint(chart.timeScale().getVisibleLogicalRange());
        });
        return element("label", {}, input, ` ${name}`, data[name] ? null : element("span", { className: "muted", textContent: " no value" }));
      }))] : [];
    }));
    const count = () => { $("features-count").textContent = String(drawable().filter(({ name }) => chosen.has(name)).length); };
    count();
  }

  function inspect(i, hovered = false) {
    if (hovered) selected = i;
    tellTitles(i);
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
        element("dt", { textContent: "quality" }), element("dd", {}, `${isTold(quality) ? Number(quality).toFixed(2) : "–"} `, element("span", { className: `badge ${valid ? "ok" : "bad"}`, textContent: valid ? "passed" : "not valid" })),
        ...(data.split_factor && data.split_factor[i] !== 1 ? [element("dt", { textContent: "split factor" }), element("dd", { textContent: amount(data.split_factor[i]) })] : []),
        element("dt", { textContent: "revision" }), element("dd", { textContent: String(data.revision?.[i] ?? 1) })),
    ];
    if (data.notes?.[i]) parts.push(element("p", { className: "small muted", textContent: data.notes[i] }));
    const history = heads[key(series)].corrections.filter((one) => one.bar === data.t[i]);
    if (history.length) parts.push(element("h3", { textContent: "Revisions" }), element("ul", { className: "history" }, ...history.map((one) => element("li", { textContent: correction(one) }))));
    const groups = element("div", { className: "groups" });
    for (const name of new Set(features.map((one) => one.group))) {
      const there = [...FACTS, ...features].filter((one) => one.group === name && (series.asset_class === "crypto" || data[one.name]));
      if (there.length) groups.append(element("div", {}, element("h3", { textContent: name }), element("dl", {}, ...there.flatMap(row))));
    }
    $("bar").replaceChildren(...parts, groups);
    $("bar").dataset.time = data.t[i];
  }

  // ------------------------------------------------------------ corrections, gaps, splits

  const exact = (value) => (isTold(value) ? value.toLocaleString("en-US", { maximumSignificantDigits: 12 }) : "–");
  const correction = (one) => `${one.field}: ${exact(one.old)} → ${exact(one.new)} (${one.reason.replaceAll("_", " ")}, ${one.corrected_by}, ${at(one.at)})`;
  const ratio = (number) => (number >= 1 ? `${Number(number.toPrecision(4))}:1` : `1:${Number((1 / number).toPrecision(4))}`);

  // As marks on the loaded bars, in the order of time.
  function marks() {
    const { corrections, gaps } = heads[key(series)], out = [], [first, last] = [data.t[0], data.t.at(-1)];
    for (const bar of new Set(corrections.map((one) => one.bar))) if (data.t[place(bar)] === bar) out.push({ i: place(bar), kind: "correction", text: "R" });
    for (const gap of gaps) {
      const i = gap.gap_to > first && gap.gap_to <= last ? place(gap.gap_to) : -1;
      if (i > 0) out.push({ i, kind: "gap", text: `${gap.missing} missing` });
    }
    for (let i = 1; data.split_factor && i < data.t.length; i += 1) {
      const step = data.split_factor[i] / data.split_factor[i - 1];
      if (step !== 1) out.push({ i, kind: "split", text: `split ${ratio(step)}` });
    }
    return out.sort((a, b) => a.i - b.i);
  }

  const KINDS = { corrected: "Corrections", gap: "Gaps", split: "Splits" };
  const ROWS = 200;
  let kind = "", rowsShown = ROWS;

  // All of the series, whether their bars are loaded or not.
  function events() {
    const { corrections, gaps, splits } = heads[key(series)];
    const list = [
      ...corrections.map((one) => ({ time: one.bar, name: "corrected", text: correction(one) })),
      ...gaps.map((one) => ({ time: one.gap_to, name: "gap", text: `${one.missing} bars missing from ${at(one.gap_from)}: ${one.verdict}, ${one.state}. ${one.evidence ?? ""}` })),
      ...splits.map((one) => ({ time: one.ex_date, name: "split", text: `split ${ratio(one.ratio)}, reported by ${one.source} (${one.verdict})` })),
    ].sort((a, b) => b.time - a.time);
    if (kind && !list.some(({ name }) => name === kind)) kind = "";
    const button = (value, label, number) => {
      const made = element("button", { type: "button", value, textContent: `${label} ${number.toLocaleString("en-US")}`, disabled: !number });
      made.setAttribute("aria-pressed", String(kind === value));
      made.addEventListener("click", () => { kind = value; rowsShown = ROWS; events(); $("event-kinds").querySelector(`[value="${value}"]`).focus(); });
      return made;
    };
    $("event-kinds").replaceChildren(button("", "All", list.length), ...Object.entries(KINDS).map(([name, label]) => button(name, label, list.filter((one) => one.name === name).length)));
    const wanted = list.filter(({ name }) => !kind || name === kind);
    $("events-count").textContent = list.length ? "newest first; a date shows its bar" : "";
    const rows = wanted.slice(0, rowsShown).map(({ time, name, text }) => {
      const show = element("button", { type: "button", textContent: barTime(time) });
      show.addEventListener("click", () => { reveal(time).catch((error) => message(error.message)); $("chart").scrollIntoView({ block: "nearest" }); });
      return element("tr", {}, element("td", { className: "figures" }, show), element("td", { textContent: name }), element("td", { textContent: text }));
    });
    const head = element("thead", {}, element("tr", {}, ...["Bar", "What", "Details"].map((textContent) => element("th", { scope: "col", textContent }))));
    const scroll = element("div", { className: "scroll", tabIndex: 0, ariaLabel: "Events, one row each" }, element("table", {}, head, element("tbody", {}, ...rows)));
    scroll.setAttribute("role", "region");
    const more = element("button", { type: "button", textContent: `Show ${Math.min(1000, wanted.length - rowsShown)} more` });
    more.addEventListener("click", () => { rowsShown += 1000; events(); });
    $("events").replaceChildren(rows.length ? scroll : element("p", { className: "empty", textContent: "None: no correction, no gap, no split." }),
      ...(wanted.length > rowsShown ? [element("p", { className: "more" }, more)] : []));
  }

  // ------------------------------------------------------------ the bars in view, as a file

  function download() {
    const view = chart?.timeScale().getVisibleLogicalRange();
    const [first, last] = view ? [Math.max(0, Math.ceil(view.from)), Math.min(data.t.length - 1, Math.floor(view.to))] : [0, data.t.length - 1];
    const prices = new Set(["open", "high", "low", "close", ...features.filter(({ unit }) => unit === "price").map(({ name }) => name)]);
    const names = Object.keys(data).filter((name) => name !== "t");
    const cell = (value) => (!isTold(value) ? "" : /[",\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : String(value));
    const value = (name, i) => (!isTold(data[name][i]) ? null : prices.has(name) ? data[name][i] * factor(i) : name === "volume" ? data[name][i] / factor(i) : data[name][i]);
    const lines = [["symbol", "timeframe", "timestamp", ...names].join(",")];
    for (let i = first; i <= last; i += 1) lines.push([series.symbol, series.timeframe, `${at(data.t[i]).replace(" ", "T")}:00Z`, ...names.map((name) => value(name, i))].map(cell).join(","));
    const link = element("a", { href: URL.createObjectURL(new Blob([`${lines.join("\n")}\n`], { type: "text/csv" })) });
    const isAdjusted = factor(first) !== 1 || $("adjusted").checked;
    link.download = `${series.symbol.replace(/[^\w.-]/g, "_")}_${series.timeframe}_${at(data.t[first]).slice(0, 10)}_${at(data.t[last]).slice(0, 10)}${isAdjusted ? "_adjusted" : ""}.csv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }

  // ------------------------------------------------------------ events of the page

  $("chart").addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -20, PageDown: 20 };
    if (!data || !(event.key in steps || event.key === "Home" || event.key === "End")) return;
    event.preventDefault();
    const list = heads[key(series)].pieces;
    if (event.key === "Home") reveal(list[0][1]);
    else if (event.key === "End") reveal(list.at(-1)[2]);
    else point(Math.min(data.t.length - 1, Math.max(0, selected + steps[event.key])));
  });
  // A mouse that lies still where a page or a bar appears under it has chosen nothing.
  let isMoved = false;
  for (const name of ["pointermove", "pointerdown"]) {
    addEventListener(name, (event) => { isMoved = name === "pointerdown" || Boolean(event.movementX || event.movementY); }, { capture: true, passive: true });
  }
  for (const button of $("ranges").children) button.addEventListener("click", () => { if (data) range(button.value); });
  for (const id of ["log", "adjusted"]) $(id).addEventListener("change", () => { if (chart) paint(chart.timeScale().getVisibleLogicalRange()); });
  $("features-filter").addEventListener("input", choices);
  $("features-menu").addEventListener("keydown", (event) => { if (event.key === "Escape") { $("features-menu").open = false; $("features-menu").querySelector("summary").focus(); } });
  addEventListener("click", ({ target }) => { if (!$("features-menu").contains(target)) $("features-menu").open = false; });
  $("download").addEventListener("click", () => { if (data) download(); });
  for (const form of [$("chooser"), $("toolbar")]) form.addEventListener("submit", (event) => event.preventDefault());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (chart) paint(chart.timeScale().getVisibleLogicalRange()); });

  warehouse.catalog.then(offer);
})();
