// The table of series: ages and states as of now, filters that stay in the address.
"use strict";

(() => {
  const { element, badge, duration, level, now, LEVELS } = warehouse;
  const table = document.getElementById("series-table");
  const form = document.getElementById("series-filter");
  const rows = table ? [...table.tBodies[0].rows] : [];
  const number = (text) => (text ? Number(text) : null);

  function refreshLevels() {
    const counts = Object.fromEntries(LEVELS.map((name) => [name, 0]));
    for (const row of rows) {
      const closed_at = number(row.dataset.closed);
      const found = level({
        closed_at, late_from: number(row.dataset.late), critical_from: number(row.dataset.critical),
        stale_from: number(row.dataset.stale),
      });
      // A series that is resampled has no bars because its base has none: that one counts.
      if (found !== "no data" || row.dataset.expected === "1") counts[found] += 1;
      const age = row.querySelector("[data-age]");
      age.textContent = closed_at ? duration(now() - closed_at) : "–";
      age.dataset.value = closed_at ? now() - closed_at : "";
      if (row.dataset.level !== found) {
        row.dataset.level = found;
        const cell = row.querySelector(".level");
        cell.dataset.value = LEVELS.indexOf(found);
        cell.replaceChildren(badge(found));
      }
    }
    const stale = counts.stale + counts["no data"];
    document.getElementById("stale-count").textContent = stale;
    document.getElementById("stale-count").closest(".tile").classList.toggle("bad", stale > 0);
    document.getElementById("late-count").textContent = counts.late + counts.critical;
  }

  function fits(row, wanted) {
    const { text, level: state } = wanted;
    const trouble = row.dataset.level !== "on time" || row.dataset.trouble === "1";
    return (
      row.dataset.text.includes(text.trim().toLowerCase()) &&
      (!wanted.class || row.dataset.class === wanted.class) &&
      (!wanted.timeframe || row.dataset.timeframe === wanted.timeframe) &&
      (!state || (state === "trouble" ? trouble : row.dataset.level === state))
    );
  }

  function filter() {
    const wanted = Object.fromEntries(new FormData(form));
    let shown = 0;
    for (const row of rows) {
      row.hidden = !fits(row, wanted);
      shown += !row.hidden;
    }
    document.getElementById("series-count").textContent =
      shown === rows.length ? `${shown} series` : `${shown} of ${rows.length} series`;
    const none = document.getElementById("series-none");
    if (none) none.hidden = shown > 0;
    const kept = Object.entries(wanted).filter(([, value]) => value);
    history.replaceState(null, "", `${location.pathname}${kept.length ? `?${new URLSearchParams(kept)}` : ""}${location.hash}`);
  }

  refreshLevels();
  setInterval(refreshLevels, 30_000);
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
