"use strict";
const root = document.documentElement;
document.getElementById("theme").addEventListener("click", () => {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});
const open = () => {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target && target.tagName === "DETAILS") { target.open = true; target.scrollIntoView(); }
};
addEventListener("hashchange", open);
open();
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  const original = [...body.rows];
  const value = (row, at) => {
    const cell = row.cells[at];
    return at === 0 ? cell.textContent.trim().toLowerCase() : cell.dataset.n === undefined ? null : Number(cell.dataset.n);
  };
  table.querySelectorAll("thead th").forEach((head, at) => head.addEventListener("click", () => {
    const now = head.getAttribute("aria-sort");
    const next = now === "descending" ? "ascending" : now === "ascending" ? null : "descending";
    table.querySelectorAll("thead th").forEach((each) => each.removeAttribute("aria-sort"));
    const sign = next === "ascending" ? 1 : -1;
    if (next) head.setAttribute("aria-sort", next);
    const order = (a, b) => {
      const x = value(a, at), y = value(b, at);
      if (x === null || y === null) return (x === null) - (y === null);
      return (x < y ? -1 : x > y ? 1 : 0) * sign;
    };
    body.append(...(next ? [...original].sort(order) : original));
  }));
}
