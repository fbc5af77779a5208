"use strict";
const root = document.documentElement;
document.getElementById("theme").addEventListener("click", () => {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});
const configs = JSON.parse(document.getElementById("configs").textContent);
document.getElementById("records").addEventListener("toggle", (event) => {
  const shown = event.target.querySelector("pre");
  shown.textContent = "{\n" + shown.dataset.parts.split(" ").map((part) => configs[part]).join(",\n") + "\n}";
}, true);
const open = () => {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target && target.tagName === "DETAILS") { target.open = true; target.scrollIntoView(); }
};
addEventListener("hashchange", open);
addEventListener("click", (event) => {  // the same link again changes no hash, yet its record may have been closed
  const link = event.target.closest("a");
  if (link && link.hash === location.hash) open();
});
open();
for (const link of document.querySelectorAll("td a")) link.tabIndex = -1;  // a row's name leads to the same record
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  const original = [...body.rows];
  const value = (row, at) => {
    const cell = row.cells[at], text = cell.textContent.trim().toLowerCase();
    const number = at === 0 ? NaN : Number(cell.dataset.n ?? parseFloat(text));
    return text === "" ? null : Number.isNaN(number) ? text : number;
  };
  table.querySelectorAll("thead th").forEach((head, at) => head.addEventListener("click", () => {
    const now = head.getAttribute("aria-sort");
    const next = now === "descending" ? "ascending" : now === "ascending" ? null : "descending";
    table.querySelectorAll("thead th").forEach((each) => each.removeAttribute("aria-sort"));
    const sign = next === "ascending" ? 1 : -1;
    if (next) head.setAttribute("aria-sort", next);
    table.classList.toggle("sorted", next !== null);
    const order = (a, b) => {
      const x = value(a, at), y = value(b, at);
      if (x === null || y === null) return (x === null) - (y === null);
      return (x < y ? -1 : x > y ? 1 : 0) * sign;
    };
    body.append(...(next ? [...original].sort(order) : original));
  }));
}
