// What every page does: ages, the banner of an old page, the way to a symbol. No library, no request outside the folder.
"use strict";

const warehouse = (() => {
  const body = document.body.dataset;

  // The instant to which ages of data count: now, or where the clock of the data is frozen.
  const now = () => (body.now ? Number(body.now) : Date.now() / 1000);

  const UNITS = [[86400 * 365.25, "y"], [86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  function duration(seconds) {
    const whole = Math.max(0, Math.round(seconds));
    const place = UNITS.findIndex(([size]) => whole >= size * (size === 1 ? 0 : 2));
    const [size, unit] = UNITS[place < 0 ? UNITS.length - 1 : place];
    return `${Math.floor(whole / size)} ${unit}`;
  }

  // What a series is at this instant, determined by the instants that the warehouse gave it.
  function level(series) {
    if (!series.closed_at) return "no data";
    for (const name of ["stale", "critical", "late"]) {
      const from = series[`${name}_from`];
      if (from && now() > from) return name;
    }
    return "on time";
  }
  const LEVELS = ["on time", "late", "critical", "stale", "no data"];
  const BADGES = { "on time": "ok", late: "warn", critical: "warn", stale: "bad", "no data": "quiet" };

  function element(name, properties = {}, ...children) {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children.filter((child) => child !== null));
    return made;
  }
  const badge = (text) => element("span", { className: `badge ${BADGES[text]}`, textContent: text });

  function tellAges() {
    for (const time of document.querySelectorAll("time[data-ago]")) {
      const until = "real" in time.dataset ? Date.now() / 1000 : now();
      time.textContent = `${duration(until - Number(time.dataset.ago))} ago`;
    }
    if (!document.getElementById("stale-page")) return;
    const age = Date.now() / 1000 - Number(body.builtAt), interval = Number(body.interval);
    document.getElementById("stale-page").hidden = age <= 2 * interval;
    document.getElementById("stale-page-age").textContent = duration(age);
    document.getElementById("stale-page-interval").textContent = duration(interval);
  }

  // Rows of a group stay together: a group is a tbody, and its first row says where it belongs.
  function sortable(table) {
    const heads = [...table.querySelectorAll("thead th")];
    heads.forEach((head, column) => {
      if (!head.dataset.sort) return;
      const button = element("button", { type: "button" }, ...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const numeric = head.dataset.sort === "number";
        const ascending = head.getAttribute("aria-sort") ? head.getAttribute("aria-sort") === "descending" : !numeric;
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
        const key = ({ rows: [row] }) => {
          const cell = row.cells[column];
          return numeric ? Number(cell.dataset.value ?? NaN) : cell.textContent.trim();
        };
        const groups = [...table.tBodies].map((group) => [key(group), group]);
        const compare = numeric ? ([a], [b]) => (Number.isNaN(a) ? -Infinity : a) - (Number.isNaN(b) ? -Infinity : b)
          : ([a], [b]) => a.localeCompare(b);
        groups.sort((a, b) => (ascending ? compare(a, b) : compare(b, a)));
        table.append(...groups.map(([, group]) => group));
      });
    });
  }

  // ------------------------------------------------------------ all series, and the way to each of them

  const root = body.root ?? "";
  const key = (one) => `${one.asset_class}/${one.symbol}/${one.timeframe}`;
  const address = (one) => `#${one.asset_class}/${encodeURIComponent(one.symbol)}/${one.timeframe}`;
  const perCent = (value, signed) => `${signed && value > 0 ? "+" : value < 0 ? "−" : ""}${(100 * Math.abs(value)).toFixed(value && Math.abs(value) < 0.001 ? 4 : 2)} %`;
  // As pages.price writes it.
  const quoted = (value) => (Math.abs(value) >= 1 ? value.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 })
    : String(Number(value.toPrecision(5))));

  // data/series.js calls series(); whoever needs the list waits for it here.
  let received = null, load = null;
  const catalog = new Promise((resolve) => { received = resolve; });
  function series(list, features, quotes) { received({ list, features, quotes }); }
  function needCatalog() {
    if (!load && !document.querySelector('script[src$="data/series.js"]')) {
      load = element("script", { src: `${root}data/series.js` });
      load.onerror = () => received({ list: [], features: [], quotes: {} });
      document.body.append(load);
    }
    return catalog;
  }

  const dialog = document.getElementById("commands"), input = document.getElementById("command"), found = document.getElementById("command-list");
  const pages = [...document.querySelectorAll("header nav a, nav.toc a")].map((link) => ({ text: link.textContent.trim(), href: link.getAttribute("href") }));
  let options = [], chosen = 0;

  // Symbols that begin with what was typed come before those that contain it; "btc 1h" names a timeframe, too.
  function matching({ list, quotes }, typed) {
    const [word = "", timeframe = ""] = typed.trim().toLowerCase().split(/\s+/);
    const symbols = new Map();
    for (const one of list.filter((other) => other.folder)) {
      const name = `${one.asset_class}/${one.symbol}`;
      if (!symbols.has(name)) symbols.set(name, []);
      symbols.get(name).push(one);
    }
    const out = [];
    for (const [name, its] of symbols) {
      const text = its[0].symbol.toLowerCase(), place = text.indexOf(word);
      if (place < 0 && !its[0].asset_class.startsWith(word)) continue;
      const day = [...its].sort((a, b) => Math.abs(a.minutes - 1440) - Math.abs(b.minutes - 1440))[0];
      const one = its.find((other) => other.timeframe === timeframe) ?? (timeframe ? its.find((other) => other.timeframe.startsWith(timeframe)) : null) ?? day;
      out.push({ rank: text === word ? 0 : place === 0 ? 1 : place > 0 ? 2 : 3, text: one.symbol, detail: `${one.asset_class} ${one.timeframe}`, quote: quotes[name], href: `${root}symbol.html${address(one)}` });
    }
    for (const page of pages) if (word && page.text.toLowerCase().includes(word)) out.push({ rank: 4, text: page.text, detail: "page", href: page.href });
    return out.sort((a, b) => a.rank - b.rank || a.text.localeCompare(b.text)).slice(0, 12);
  }

  async function refresh() {
    const known = await needCatalog();
    options = matching(known, input.value);
    chosen = 0;
    found.replaceChildren(...options.map(({ text, detail, quote, href }, place) => {
      const item = element("li", { id: `option-${place}` }, element("strong", { textContent: text }), element("span", { className: "muted", textContent: detail }));
      if (quote) {
        item.append(element("span", { className: "num", textContent: quoted(quote[0]) }),
          element("span", { className: `num ${quote[1] > 0 ? "up" : quote[1] < 0 ? "down" : ""}`, textContent: quote[1] === null ? "–" : perCent(quote[1], true) }));
      }
      item.setAttribute("role", "option");
      item.addEventListener("click", () => follow(href));
      return item;
    }));
    if (!options.length) found.append(element("li", { className: "muted none", role: "option", textContent: known.list.length ? "Nothing fits." : "There are no series yet." }));
    mark();
  }
  function mark() {
    [...found.children].forEach((item, place) => item.setAttribute("aria-selected", String(place === chosen && options.length > 0)));
    if (options.length) { input.setAttribute("aria-activedescendant", `option-${chosen}`); found.children[chosen].scrollIntoView({ block: "nearest" }); } else input.removeAttribute("aria-activedescendant");
  }
  function follow(href) { dialog.close(); location.href = href; }
  function open() { if (!dialog.open) { input.value = ""; dialog.showModal(); refresh(); } }

  if (dialog) {
    document.getElementById("jump").addEventListener("click", open);
    addEventListener("keydown", (event) => {
      const isTyping = event.target.closest?.("input:not([type=radio], [type=checkbox]), select, textarea");
      if ((event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey) || (event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey))) { event.preventDefault(); open(); }
    });
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
    input.addEventListener("input", refresh);
    input.addEventListener("keydown", (event) => {
      const steps = { ArrowDown: 1, ArrowUp: -1 };
      if (event.key in steps && options.length) { event.preventDefault(); chosen = (chosen + steps[event.key] + options.length) % options.length; mark(); }
      if (event.key === "Enter" && options[chosen]) { event.preventDefault(); follow(options[chosen].href); }
    });
  }

  tellAges();
  setInterval(tellAges, 30_000);
  return { now, duration, level, LEVELS, badge, element, sortable, series, catalog, key, address, perCent };
})();
