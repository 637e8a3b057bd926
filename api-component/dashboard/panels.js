// What stands around the list: the tiles of the priorities, the employees, the addresses of nobody.

import * as addresses from "./address.js";
import { byId, el, icon, show } from "./dom.js";
import { ageElement, counted, foreign, number, PRIORITIES, timeElement, visible } from "./format.js";
import { textOf } from "./json.js";

/** A link to another view of the page. */
export function link(view, attributes, ...children) {
  return el("a", { href: addresses.href(view), "data-go": true, ...attributes }, ...children);
}

const sum = (counts) => PRIORITIES.reduce((total, priority) => total + Number(counts[priority] ?? 0), 0);

/** Changes in words: how many in a day, and how that differs from the day before. */
function changeOf(change) {
  if (!change) {
    return ["\u00a0"];
  }
  const difference = change.now - change.before;
  const [sign, word] = difference > 0 ? ["▲", "more"] : difference < 0 ? ["▼", "fewer"] : ["=", ""];
  const told =
    difference === 0
      ? "as many as the day before"
      : `${number(Math.abs(difference))} ${word} than the day before`;
  return [
    el("b", {}, `+${number(change.now)}`),
    " ",
    el("span", { class: "arrow", "aria-hidden": "true" }, sign),
    ` ${told}`,
  ];
}

/**
 * The four tiles. `counts` is null while nothing is known; `changes` are by priority, over the day that
 * `day` names.
 */
export function tiles(view, counts, changes, day) {
  show(
    byId("tiles"),
    PRIORITIES.map((priority) => {
      const isOn = view.priority.includes(priority);
      const target = addresses.changed(view, {
        view: "overview",
        priority: isOn ? view.priority.filter((other) => other !== priority) : [priority],
      });
      return el(
        "li",
        { "data-key": priority },
        link(
          target,
          { class: `tile tile-${priority}`, "aria-current": isOn ? "true" : null },
          el("span", { class: "tile-name" }, icon(priority), priority),
          el("span", { class: "tile-count" }, counts ? number(Number(counts[priority] ?? 0)) : "–"),
          el("span", { class: "tile-change" }, changeOf(changes?.[priority])),
          el(
            "span",
            { class: "hidden" },
            isOn ? " – only these are listed; press to list all" : " – press to list only these",
          ),
        ),
      );
    }),
  );
  show(byId("tiles-day"), day);
}

function headCells() {
  return PRIORITIES.map((priority) =>
    el(
      "th",
      { scope: "col", class: "count" },
      el(
        "span",
        { class: "head-icon", title: priority },
        icon(priority),
        el("span", { class: "hidden" }, priority),
      ),
    ),
  );
}

/** The table of the employees with most incidents: `limit` of those that the summary has. */
export function employees(table, view, summary, limit) {
  const all = summary?.employees ?? [];
  const rows = all.slice(0, limit).map((entry) => {
    const id = String(entry.employee);
    const target = addresses.changed(addresses.cleared(), { employee: [id] });
    const isShown = view.employee.length === 1 && view.employee[0] === id;
    return el(
      "tr",
      { "data-key": id, class: isShown ? "is-shown" : null },
      el("th", { scope: "row" }, link(target, { "aria-current": isShown ? "true" : null }, id)),
      PRIORITIES.map((priority) => {
        const count = Number(entry[priority] ?? 0);
        return el("td", { class: count ? "count" : "count is-zero" }, number(count));
      }),
      el("td", { class: "count total" }, number(sum(entry))),
      el("td", { class: "last" }, entry.last === undefined ? "–" : ageElement(entry.last)),
    );
  });
  show(
    table,
    el(
      "caption",
      { class: "hidden" },
      "Employees with most incidents, by critical, then high, medium and low ones",
    ),
    el(
      "thead",
      {},
      el(
        "tr",
        {},
        el("th", { scope: "col" }, "Employee"),
        headCells(),
        el("th", { scope: "col", class: "count total" }, "All"),
        el("th", { scope: "col", class: "last" }, "Last"),
      ),
    ),
    el("tbody", {}, rows.length ? rows : nothing(7, summary ? "No employee has an incident." : "Loading…")),
  );
}

/** The addresses with most rows that no employee was found for. */
export function unattributed(table, summary, limit, isLinked) {
  const all = summary?.unattributed ?? [];
  const rows = all.slice(0, limit).map(({ address, count }) => {
    const text = textOf(address);
    const target = { ...addresses.cleared(), view: "unattributed", address: text };
    const cell = isLinked ? link(target, {}, foreign(text)) : foreign(text);
    return el(
      "tr",
      { "data-key": text },
      el("th", { scope: "row", class: "address" }, cell),
      el("td", { class: "count" }, number(Number(count))),
    );
  });
  show(
    table,
    el("caption", { class: "hidden" }, "Addresses with most rows that no employee was found for"),
    el(
      "thead",
      {},
      el("tr", {}, el("th", { scope: "col" }, "Address"), el("th", { scope: "col", class: "count" }, "Rows")),
    ),
    el("tbody", {}, rows.length ? rows : nothing(2, summary ? "Every address has an employee." : "Loading…")),
  );
}

export const nothing = (columns, text) => [
  el(
    "tr",
    { role: "row", class: "nothing", "data-key": "!nothing" },
    el("td", { role: "cell", colspan: columns }, text),
  ),
];

/** What is known of one employee, above its incidents. */
export function employee(view, known, trouble) {
  const id = view.employee[0];
  const facts = [];
  if (known && known.total > 0) {
    facts.push(
      known.isWhole
        ? counted(known.total, "incident")
        : `the newest ${counted(known.items.length, "incident")} of ${number(known.total)}`,
    );
    if (known.items.length > 0) {
      const times = known.items.map((item) => item.incident.timestamp);
      facts.push(["the last ", timeElement(times[0])]);
      const types = new Map();
      for (const { incident } of known.items) {
        const type = textOf(incident.type);
        types.set(type, (types.get(type) ?? 0) + 1);
      }
      const told = [...types]
        .sort((a, b) => b[1] - a[1])
        .map(([type, count]) => `${visible(type)} ${number(count)}`);
      facts.push(told.join(", "));
    }
  }
  show(
    byId("employee"),
    el("h2", { id: "employee-title", tabindex: "-1" }, "Employee ", foreign(id)),
    el(
      "p",
      { class: "facts" },
      facts.length
        ? facts.flatMap((fact, at) => (at ? [" · ", fact] : [fact])).flat()
        : known
          ? "No incident is known of this employee. Check the number."
          : trouble
            ? "Nothing could be read."
            : "Loading…",
    ),
    el(
      "p",
      { class: "links" },
      link(addresses.changed(view, { employee: [] }), {}, "All employees"),
      el("a", { href: `incidents/${encodeURIComponent(id)}` }, "Everything as JSON"),
    ),
  );
}
