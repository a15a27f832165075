"use strict";
// Tables that are sorted by their headings and filtered by their first column. Without this script they stand as written.

const COLLATOR = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
const STEP = 500;

function readNumber(text) {
  const found = /^[^\d]*?([+-]?[\d.]+(?:e[+-]?\d+)?)/i.exec(text.replaceAll(",", "").replaceAll("\u2212", "-"));
  return found ? Number(found[1]) : NaN;
}

function readCell(cell) {
  if (cell.dataset.value !== undefined) return cell.dataset.value;
  const small = cell.querySelector("small");
  const words = small ? cell.textContent.slice(0, -small.textContent.length) : cell.textContent;
  return words.replace(/\s+/g, " ").trim();
}

function buildRow(pattern, record) {
  const row = pattern.cloneNode(true);
  record.cells.forEach((text, k) => {
    const bar = row.cells[k].querySelector(".bar");
    (bar ? row.cells[k].querySelector("span") : row.cells[k]).textContent = text;
    if (!bar) return;
    const [low, value, high] = record.bar;
    bar.querySelector(".fill").setAttribute("width", value);
    bar.querySelector(".reach")?.setAttribute("d", `M${low} 5H${high}`);
  });
  return row;
}

function compare(isNumber, first, second) {
  if (!isNumber) return COLLATOR.compare(first, second);
  return readNumber(first) - readNumber(second);
}

function isMissing(isNumber, text) {
  return isNumber ? Number.isNaN(readNumber(text)) : text === "";
}

function enliven(table) {
  const body = table.tBodies[0];
  const rest = document.querySelector(`script[data-rows-of="${table.id}"]`);
  const records = [...body.rows].map((row) => ({ row, cells: [...row.cells].map(readCell) }));
  if (records.length < 2) return;
  let limit = records.length;
  if (rest) records.push(...JSON.parse(rest.textContent));
  const tools = document.querySelector(`[data-tools-of="${table.id}"]`);
  const headings = [...table.tHead.rows[0].cells];
  const pattern = records[0].row;
  const status = tools?.querySelector("[role=status]");
  const field = tools?.querySelector("input");
  const more = document.querySelector(`[data-more-of="${table.id}"]`);
  const isNumber = headings.map((_, k) => !headings[k].classList.contains("left") && k > 0);
  let order = records;

  function show() {
    const wanted = field ? field.value.trim().toLowerCase() : "";
    const found = wanted ? order.filter((record) => record.cells[0].toLowerCase().includes(wanted)) : order;
    const shown = found.slice(0, limit);
    body.replaceChildren(...shown.map((record) => (record.row ??= buildRow(pattern, record))));
    if (more) more.hidden = shown.length === found.length;
    if (!status) return;
    const total = records.length.toLocaleString("en");
    const what = wanted ? `${found.length.toLocaleString("en")} of ${total} match` : `${total} in all`;
    status.textContent = shown.length < found.length ? `${what}, ${shown.length.toLocaleString("en")} shown` : what;
  }

  function sort(k) {
    const heading = headings[k];
    const begin = isNumber[k] ? "descending" : "ascending";
    const other = begin === "ascending" ? "descending" : "ascending";
    const direction = heading.ariaSort === begin ? other : begin;
    headings.forEach((each) => each.removeAttribute("aria-sort"));
    heading.ariaSort = direction;
    const sign = direction === "ascending" ? 1 : -1;
    const known = records.filter((record) => !isMissing(isNumber[k], record.cells[k]));
    const missing = records.filter((record) => isMissing(isNumber[k], record.cells[k]));
    known.sort((a, b) => sign * compare(isNumber[k], a.cells[k], b.cells[k]));
    order = [...known, ...missing];
    show();
  }

  headings.forEach((heading, k) => {
    if (!heading.textContent.trim()) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    button.addEventListener("click", () => sort(k));
    heading.append(button);
  });
  field?.addEventListener("input", show);
  more?.querySelector("button").addEventListener("click", () => {
    limit += STEP;
    show();
  });
  if (tools) tools.hidden = false;
  show();
}

document.querySelectorAll("table[data-sortable]").forEach(enliven);
