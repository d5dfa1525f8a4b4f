// The table of symbols: ages and states as of now, timeframes that unfold, filters that stay in the address.
"use strict";

(() => {
  const { badge, duration, level, now, LEVELS, sortable } = warehouse;
  const table = document.getElementById("series-table");
  const form = document.getElementById("series-filter");
  const groups = table ? [...table.tBodies] : [];
  const number = (text) => (text ? Number(text) : null);
  const seriesOf = (group) => [...group.rows].slice(1);

  function show(row, found) {
    const cell = row.querySelector(".level");
    if (cell.dataset.level === found) return;
    cell.dataset.level = found;
    cell.dataset.value = LEVELS.indexOf(found);
    cell.replaceChildren(badge(found));
  }

  function refreshLevels() {
    const counts = Object.fromEntries(LEVELS.map((name) => [name, 0]));
    for (const cell of document.querySelectorAll("#series-table [data-age]")) {
      const closed = number(cell.dataset.age);
      cell.textContent = closed ? duration(now() - closed) : "–";
      cell.dataset.value = closed ? now() - closed : "";
    }
    for (const group of groups) {
      let worst = 0, trouble = 0;
      for (const row of seriesOf(group)) {
        const found = level({
          closed_at: number(row.dataset.closed), late_from: number(row.dataset.late),
          critical_from: number(row.dataset.critical), stale_from: number(row.dataset.stale),
        });
        row.dataset.level = found;
        show(row, found);
        trouble += Number(row.dataset.trouble);
        // A series that is resampled has no bars because its base has none: that one counts.
        if (found === "no data" && row.dataset.expected !== "1") continue;
        counts[found] += 1;
        worst = Math.max(worst, LEVELS.indexOf(found));
      }
      group.dataset.level = LEVELS[worst];
      group.dataset.trouble = trouble;
      show(group.rows[0], LEVELS[worst]);
    }
    const stale = counts.stale + counts["no data"];
    document.getElementById("stale-count").textContent = stale;
    document.getElementById("stale-count").closest(".tile").classList.toggle("bad", stale > 0);
    document.getElementById("late-count").textContent = counts.late + counts.critical;
  }

  // Worst state first, then holes, then the alphabet: what needs a look is where the look falls.
  function problemsFirst() {
    const rank = (group) => 1000 * LEVELS.indexOf(group.dataset.level) + Math.min(999, Number(group.dataset.trouble));
    groups.sort((a, b) => rank(b) - rank(a) || a.dataset.symbol.localeCompare(b.dataset.symbol));
    table.append(...groups);
  }

  function fits(row, { timeframe, level: state }) {
    const isTrouble = row.dataset.level !== "on time" || row.dataset.trouble === "1";
    return (!timeframe || row.dataset.timeframe === timeframe) && (!state || (state === "trouble" ? isTrouble : row.dataset.level === state));
  }

  // A symbol is there when one of its timeframes fits; one that was asked for by timeframe or state shows which.
  function filter() {
    const wanted = Object.fromEntries(new FormData(form));
    const isOfSeries = Boolean(wanted.timeframe || wanted.level);
    let shown = 0;
    for (const group of groups) {
      const fitting = seriesOf(group).filter((row) => fits(row, wanted));
      group.hidden = !group.dataset.text.includes(wanted.text.trim().toLowerCase()) || Boolean(wanted.class && group.dataset.class !== wanted.class) || !fitting.length;
      shown += !group.hidden;
      const isOpen = isOfSeries || group.rows[0].querySelector(".unfold").getAttribute("aria-expanded") === "true";
      for (const row of seriesOf(group)) row.hidden = !(isOpen && (!isOfSeries || fitting.includes(row)));
    }
    document.getElementById("series-count").textContent =
      shown === groups.length ? `${shown} symbols` : `${shown} of ${groups.length} symbols`;
    const none = document.getElementById("series-none");
    if (none) none.hidden = shown > 0;
    const kept = Object.entries(wanted).filter(([, value]) => value);
    history.replaceState(null, "", `${location.pathname}${kept.length ? `?${new URLSearchParams(kept)}` : ""}${location.hash}`);
  }

  refreshLevels();
  setInterval(refreshLevels, 30_000);
  if (table) {
    problemsFirst();
    sortable(table);
    table.addEventListener("click", ({ target }) => {
      const button = target.closest(".unfold");
      if (!button) return;
      button.setAttribute("aria-expanded", String(button.getAttribute("aria-expanded") !== "true"));
      filter();
    });
  }
  for (const [name, value] of new URLSearchParams(location.search)) if (form.elements[name]) form.elements[name].value = value;
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("series-reset")?.addEventListener("click", () => { form.reset(); filter(); });
  for (const tile of document.querySelectorAll("[data-filter-level]")) {
    tile.addEventListener("click", () => { form.reset(); form.elements.level.value = tile.dataset.filterLevel; filter(); });
  }
  filter();
  document.body.dataset.ready = "data";
})();
