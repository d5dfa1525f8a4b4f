// What every page does: ages, the banner of an old page, tables that sort. No library, no request.
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
    const age = Date.now() / 1000 - Number(body.builtAt), interval = Number(body.interval);
    document.getElementById("stale-page").hidden = age <= 2 * interval;
    document.getElementById("stale-page-age").textContent = duration(age);
    document.getElementById("stale-page-interval").textContent = duration(interval);
  }

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
        const key = (row) => {
          const cell = row.cells[column];
          return numeric ? Number(cell.dataset.value ?? NaN) : cell.textContent.trim();
        };
        const rows = [...table.tBodies[0].rows].map((row) => [key(row), row]);
        const compare = numeric ? ([a], [b]) => (Number.isNaN(a) ? -Infinity : a) - (Number.isNaN(b) ? -Infinity : b)
          : ([a], [b]) => a.localeCompare(b);
        rows.sort((a, b) => (ascending ? compare(a, b) : compare(b, a)));
        table.tBodies[0].append(...rows.map(([, row]) => row));
      });
    });
  }

  tellAges();
  setInterval(tellAges, 30_000);
  document.querySelectorAll("table.sortable").forEach(sortable);
  return { now, duration, level, LEVELS, badge, element };
})();
