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

const element = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};
const textOf = (cell) => (cell.dataset.text ?? cell.textContent).replace(/\s+/g, " ").trim();
const numberIn = (cell) => Number(cell.dataset.n ?? parseFloat(textOf(cell)));
const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

/* Sorting: a click on a heading; the third one gives the first order back. */
const sortable = (table) => {
  const body = table.tBodies[0];
  const original = [...body.rows];
  const value = (row, at) => {
    const text = textOf(row.cells[at]).toLowerCase();
    const number = at === 0 ? NaN : numberIn(row.cells[at]);
    return text === "" ? null : Number.isNaN(number) ? text : number;
  };
  [...table.tHead.rows[0].cells].forEach((head, at) => head.addEventListener("click", () => {
    const now = head.getAttribute("aria-sort");
    const next = now === "descending" ? "ascending" : now === "ascending" ? null : "descending";
    for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
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
};

/* What a row is called: a variant stands below its method and says so when alone. */
const nameOf = (row) => textOf(row.cells[0]);

/* Comparing: the two rows whose boxes are ticked, column by column. */
const compared = (table, place) => {
  const rows = [...table.querySelectorAll("input:checked")].map((box) => box.closest("tr"));
  place.replaceChildren();
  if (rows.length === 1) place.append(element("p", { className: "note", textContent: "Tick a second row to compare it with this one." }));
  if (rows.length < 2) return;
  const lines = [...table.tHead.rows[0].cells].slice(1).map((head, index) => {
    const cells = rows.map((row) => row.cells[index + 1]);
    const [first, second] = cells.map(numberIn);
    const difference = Number.isNaN(second - first) || cells.some((cell) => cell.dataset.n) ? "" : (second - first).toFixed(1);
    const sign = Number(difference) > 0 ? "+" : "";
    return element("tr", {}, element("th", { textContent: textOf(head), scope: "row" }),
      ...cells.map((cell) => element("td", { textContent: textOf(cell) })), element("td", { textContent: difference && sign + difference }));
  });
  const heads = ["", nameOf(rows[0]), nameOf(rows[1]), "second less first"].map((text) => element("th", { textContent: text, scope: "col" }));
  place.append(element("div", { className: "wide" },
    element("table", { className: "two" }, element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...lines))));
};

/* Saving: the rows and columns in sight, as CSV. */
const save = (table) => {
  const shown = (node) => !node.hidden;
  const rows = [table.tHead.rows[0], ...[...table.tBodies[0].rows].filter(shown)];
  const text = rows.map((row) => [...row.cells].filter(shown).map((cell) => quoted(textOf(cell))).join(",")).join("\n") + "\n";
  const link = element("a", { href: URL.createObjectURL(new Blob([text], { type: "text/csv" })), download: `${table.dataset.name}.csv` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  return text;
};

/* The tools of a table: search, filter, columns, compare, save. */
const tooled = (table) => {
  const rows = [...table.tBodies[0].rows], heads = [...table.tHead.rows[0].cells];
  for (const row of rows) {
    const cell = row.cells[0], box = element("input", { type: "checkbox", title: "compare" });
    const seeds = [...cell.querySelectorAll(".seed")].map((seed) => seed.textContent);
    cell.dataset.text = cell.textContent.slice(0, cell.textContent.length - seeds.reduce((sum, text) => sum + text.length + 1, 0));
    box.setAttribute("aria-label", `compare ${nameOf(row)}`);
    box.addEventListener("change", () => {
      const ticked = [...table.querySelectorAll("input:checked")];
      if (ticked.length > 2) ticked.find((each) => each !== box).checked = false;
      compared(table, place);
    });
    cell.prepend(box);
  }
  const search = element("input", { type: "search", placeholder: "search methods" });
  search.setAttribute("aria-label", "search methods");
  const variants = [...new Set(rows.map((row) => row.dataset.variant))].filter((word) => word !== "reference");
  const word = (variant) => ({ plain: "without TADrop", published: "published" })[variant] ?? `+ ${variant}`;
  const filter = element("select", {}, element("option", { value: "", textContent: "all rows" }),
    ...variants.map((variant) => element("option", { value: variant, textContent: word(variant) })));
  filter.setAttribute("aria-label", "rows to show");
  const seen = heads.findIndex((head) => textOf(head) === "data");
  const kinds = seen < 0 ? [] : [...new Set(rows.map((row) => textOf(row.cells[seen])))].sort();
  const data = element("select", {}, element("option", { value: "", textContent: "any data" }),
    ...kinds.map((kind) => element("option", { value: kind, textContent: kind === "none" ? "no data" : kind })));
  data.setAttribute("aria-label", "data seen");
  const narrow = () => {
    const asked = search.value.trim().toLowerCase();
    for (const row of rows) {
      const fits = nameOf(row).toLowerCase().includes(asked) && ["", row.dataset.variant].includes(filter.value)
        && (!data.value || textOf(row.cells[seen]) === data.value);
      row.hidden = !fits;
    }
    table.classList.toggle("narrowed", Boolean(asked || filter.value || data.value));
  };
  for (const field of [search, filter, data]) field.addEventListener("input", narrow);
  const column = (at, on) => { for (const row of table.rows) row.cells[at].hidden = !on; };
  const tasks = heads.map((head, at) => (head.classList.contains("task") ? at : -1)).filter((at) => at > 0);
  const boxes = heads.map((head, at) => {
    const box = element("input", { type: "checkbox", checked: true });
    box.addEventListener("change", () => column(at, box.checked));
    return element("label", {}, box, ` ${textOf(head)}`);
  });
  const toggle = element("input", { type: "checkbox", checked: true });
  toggle.addEventListener("change", () => tasks.forEach((at) => { boxes[at].firstChild.checked = toggle.checked; column(at, toggle.checked); }));
  const all = element("label", {}, toggle, element("b", { textContent: " all tasks" }));
  const columns = element("details", { className: "columns" }, element("summary", { textContent: "columns" }), element("div", {}, all, ...boxes.slice(1)));
  const button = element("button", { type: "button", textContent: "save as CSV" });
  button.addEventListener("click", () => save(table));
  const place = element("div", { className: "compared" });
  place.setAttribute("aria-live", "polite");
  const tools = element("div", { className: "tools" }, search, filter, ...(seen < 0 ? [] : [data]), columns, button);
  table.parentNode.before(tools);
  table.parentNode.after(place);
};
for (const table of document.querySelectorAll("table")) {
  tooled(table);
  sortable(table);
}
