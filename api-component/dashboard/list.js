// The list of incidents: its filters, its table and its pages.

import * as addresses from "./address.js";
import { byId, el, icon, show } from "./dom.js";
import { ageElement, counted, foreign, number, PRIORITIES, timeElement, visible, ZONE } from "./format.js";
import { MEMBERS, textOf, write } from "./json.js";
import { link, nothing } from "./panels.js";

/** Rows of a page, which is what the service sends where it is not told otherwise. */
export const PAGE_ROWS = 100;

/** How long a date may be typed before it counts. */
const TYPING_MS = 900;

/** How much of a row is seen before it is folded out. */
const MOST_SHOWN = 160;
/** And of each of its values when it is. */
const MOST_SENT = 20_000;

/** The filters' form; `choose(changes)` is told what a person sets. */
export class Filters {
  #choose;
  #typing = 0;

  constructor(choose) {
    this.#choose = choose;
    this.form = byId("filters");
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#commit();
    });
    this.form.addEventListener("change", (event) => {
      clearTimeout(this.#typing);
      const delay = event.target.type === "datetime-local" ? TYPING_MS : 0;
      this.#typing = setTimeout(() => this.#commit(), delay);
    });
    this.form.addEventListener("focusout", (event) => {
      if (event.target.type === "datetime-local" && this.#typing) {
        clearTimeout(this.#typing);
        this.#commit();
      }
    });
  }

  /** Shows the filters of a view. A field that is being typed in is left alone, unless `isMoved`. */
  update(view, types, isMoved) {
    show(
      byId("filter-priority"),
      PRIORITIES.map((name) => box("priority", name, view.priority)),
    );
    const known = [...new Set([...types, ...view.type])];
    show(
      byId("filter-type"),
      known.map((name) => box("type", name, view.type)),
    );
    const texts = {
      employee: view.employee.join(", "),
      since: local(view.since),
      until: local(view.until),
      order: view.order,
    };
    for (const [name, text] of Object.entries(texts)) {
      const field = this.form.elements[name];
      if (isMoved || field !== document.activeElement) {
        field.value = text;
        field.dataset.shown = field.value;
      }
    }
    byId("filter-clear").hidden = !addresses.isFiltered(view);
    byId("filter-csv").href = `incidents/timeline?${addresses.question(view, { format: "csv" })}`;
    show(byId("filter-told"), tell(view));
  }

  #commit() {
    this.#typing = 0;
    const { elements } = this.form;
    const checked = (name) =>
      [...this.form.querySelectorAll(`input[name=${name}]:checked`)].map((input) => input.value);
    const changes = {
      priority: checked("priority"),
      type: checked("type"),
      employee: elements.employee.value.split(/[\s,;]+/).filter(Boolean),
      order: elements.order.value,
    };
    // What was not touched keeps what the address says, which may be more exact than the field.
    for (const name of ["since", "until"]) {
      const field = elements[name];
      if (field.value !== field.dataset.shown) {
        changes[name] = field.value ? addresses.moment(new Date(field.value).getTime() / 1000) : "";
      }
    }
    this.#choose(changes);
  }
}

function box(group, name, chosen) {
  const input = el("input", { type: "checkbox", name: group, value: name });
  input.checked = chosen.includes(name);
  const label = el("span", { class: "chip-name" }, group === "priority" ? icon(name) : null, visible(name));
  return el("label", { class: "chip", "data-key": name }, input, label);
}

/** A moment of an address as a field for local times has it. */
function local(moment) {
  const date = new Date(addresses.seconds(moment) * 1000);
  if (Number.isNaN(date.getTime())) {
    return "";
  }
  const shifted = new Date(date.getTime() - date.getTimezoneOffset() * 60_000);
  return shifted.toISOString().slice(0, 19);
}

/** The filters in words, for paper. */
function tell(view) {
  const said = ["priority", "type", "employee"]
    .filter((name) => view[name].length > 0)
    .map((name) => `${name} ${view[name].join(", ")}`);
  for (const name of ["since", "until"]) {
    if (view[name]) {
      said.push(`${name} ${view[name]}`);
    }
  }
  return said.length ? `Only ${said.map(visible).join("; ")}` : "All incidents";
}

/** What the table shows: it is the largest part of the page, and made again only for something else. */
let shown = {};

/**
 * The table. `page` is what the service sent, null while it is waited for; `trouble` says why it is not
 * there.
 */
export function table(view, page, trouble) {
  const order = addresses.href(view);
  if (shown.page === page && shown.trouble === trouble && shown.order === order) {
    return;
  }
  shown = { page, trouble, order };
  const rows = [];
  const seen = new Map();
  for (const item of page?.items ?? []) {
    const text = write(item);
    const times = seen.get(text) ?? 0;
    seen.set(text, times + 1);
    rows.push(row(item, `${text} ${times}`));
  }
  const isDescending = view.order !== "asc";
  show(
    byId("list"),
    el("caption", { class: "hidden" }, "Incidents in the order of time"),
    // The roles stay where a narrow window shows rows as cards.
    el(
      "thead",
      { role: "rowgroup" },
      el(
        "tr",
        { role: "row" },
        header(view, isDescending),
        ["Age", "Priority", "Type", "Employee", "Details"].map((name) =>
          el("th", { scope: "col", role: "columnheader", class: name.toLowerCase() }, name),
        ),
      ),
    ),
    el("tbody", { role: "rowgroup" }, rows.length ? rows : nothing(6, empty(view, page, trouble))),
  );
}

function header(view, isDescending) {
  const target = addresses.changed(view, { order: isDescending ? "asc" : "desc" });
  return el(
    "th",
    {
      scope: "col",
      role: "columnheader",
      class: "time",
      "aria-sort": isDescending ? "descending" : "ascending",
    },
    link(
      target,
      { title: isDescending ? "Show the oldest first" : "Show the newest first" },
      `Time (${ZONE})`,
      el("span", { class: "arrow", "aria-hidden": "true" }, isDescending ? " ↓" : " ↑"),
    ),
  );
}

/** Why there is no row, and what to do. */
function empty(view, page, trouble) {
  if (trouble) {
    return [visible(trouble.message), " ", link(addresses.cleared(), {}, "Show all incidents")];
  }
  if (!page) {
    return "Loading…";
  }
  if (view.cursor) {
    return ["This page is empty. ", link(addresses.changed(view, {}), {}, "Go to the first page")];
  }
  return addresses.isFiltered(view)
    ? [
        "Nothing matches. Take a filter away, choose a longer time, or ",
        link(addresses.cleared(), {}, "show all incidents"),
        ".",
      ]
    : "There is no incident. Upstream has sent none, or none that an employee was found for: see the numbers at the top.";
}

function row({ employee, incident }, key) {
  const id = String(employee);
  const priority = textOf(incident.priority);
  return el(
    "tr",
    { role: "row", "data-key": key, class: `row-${PRIORITIES.includes(priority) ? priority : "other"}` },
    el("td", { role: "cell", class: "time" }, timeElement(incident.timestamp)),
    el("td", { role: "cell", class: "age" }, ageElement(incident.timestamp)),
    el(
      "td",
      { role: "cell", class: "priority" },
      PRIORITIES.includes(priority) ? icon(priority) : null,
      foreign(priority),
    ),
    el("td", { role: "cell", class: "type" }, foreign(textOf(incident.type))),
    el(
      "td",
      { role: "cell", class: "employee" },
      link(addresses.changed(addresses.cleared(), { employee: [id] }), {}, id),
    ),
    el(
      "td",
      { role: "cell", class: "details" },
      details(incident, (name, value) => OWN.includes(name) || textOf(value) === id),
    ),
  );
}

/** Members that have columns. */
const OWN = ["type", "priority", "timestamp"];

/** What a row says but for what `isOwn`, folded in; folded out, all of it as it was sent. */
export function details(incident, isOwn = () => false) {
  const members = incident[MEMBERS] ?? [];
  const others = members.filter(([name, value]) => !isOwn(name, value));
  const short = others.map(([name, value]) => `${name} ${textOf(value)}`).join(" · ");
  const shown = visible(short.slice(0, MOST_SHOWN)) + (short.length > MOST_SHOWN ? "…" : "");
  const all = members.map(([name, value]) =>
    el("div", {}, el("dt", {}, foreign(name)), el("dd", {}, sent(write(value)))),
  );
  return el(
    "details",
    {},
    el("summary", {}, el("span", { class: "short" }, foreign(shown || "as sent"))),
    el("dl", { class: "as-sent" }, all),
  );
}

function sent(text) {
  const rest = text.length - MOST_SENT;
  return rest > 0
    ? [foreign(text.slice(0, MOST_SENT)), ` … and ${counted(rest, "character")} more`]
    : foreign(text);
}

/** The cursor of the page after `page`; empty where there is none. */
function next(page) {
  return page?.next ? (new URL(page.next, location.origin).searchParams.get("cursor") ?? "") : "";
}

/** Which rows are seen, and the ways to others. `trail` has the cursors of the pages before this one. */
export function pager(view, page, trail) {
  const count = page?.items.length ?? 0;
  const total = page?.total;
  // Where somebody came by a shared address, nobody knows how many rows are before.
  const isKnown = !view.cursor || trail.length > 0;
  const first = trail.length * PAGE_ROWS + 1;
  const range =
    count === 0 ? "" : isKnown ? `${number(first)}–${number(first + count - 1)}` : `${number(count)} rows`;
  const all = total === undefined || total === null ? "" : ` of ${number(Number(total))}`;
  show(byId("list-count"), page ? (count ? `${range}${all}` : "none") : "\u00a0");
  const csv = total === undefined || total === null ? "CSV" : `CSV, ${counted(Number(total), "row")}`;
  show(byId("filter-csv"), csv);
  const step = (name, label, target, to) =>
    target === null
      ? el("li", { "data-key": name }, el("span", { class: "button is-off", "aria-disabled": "true" }, label))
      : el(
          "li",
          { "data-key": name },
          link({ ...view, cursor: target }, { class: "button", "data-trail": JSON.stringify(to) }, label),
        );
  const after = next(page);
  const isFirst = !view.cursor;
  show(
    byId("pages"),
    step("first", "First page", isFirst ? null : "", []),
    step("previous", "Previous", trail.length ? trail.at(-1) : null, trail.slice(0, -1)),
    step("next", "Next page", after || null, isKnown ? [...trail, view.cursor] : []),
  );
}
