// What is seen is in the page's address: a view can be sent to a colleague, and the back button undoes.

const LISTS = ["priority", "type", "employee"];
const TEXTS = ["view", "since", "until", "order", "cursor", "address"];
const DEFAULTS = { view: "overview", since: "", until: "", order: "desc", cursor: "", address: "" };

export const VIEWS = {
  overview: "Overview",
  employees: "Employees",
  unattributed: "Unattributed",
  health: "Health",
};

/** The view that an address's query says. A value that is not known stays: the service says what is wrong. */
export function read(search) {
  const query = new URLSearchParams(search);
  const view = { ...DEFAULTS };
  for (const name of LISTS) {
    const values = query.getAll(name).flatMap((list) => list.split(","));
    view[name] = [...new Set(values.map((value) => value.trim()).filter(Boolean))];
  }
  for (const name of TEXTS) {
    view[name] = query.get(name)?.trim() || DEFAULTS[name];
  }
  if (!Object.hasOwn(VIEWS, view.view)) {
    view.view = DEFAULTS.view;
  }
  return view;
}

const encode = (text) => encodeURIComponent(text).replace(/%2C/g, ",").replace(/%3A/g, ":");

function join(pairs) {
  const said = pairs.filter(([, value]) => value !== "" && value !== undefined);
  return said.map(([name, value]) => `${name}=${encode(value)}`).join("&");
}

/** The query of a view, relative to the page: what is as usual is left out. */
export function href(view) {
  const lists = LISTS.map((name) => [name, view[name].join(",")]);
  const texts = TEXTS.map((name) => [name, view[name] === DEFAULTS[name] ? "" : view[name]]);
  return `?${join([texts[0], ...lists, ...texts.slice(1)])}`;
}

/** The same filters elsewhere in the list: a page is of one list only. */
export const changed = (view, changes) => ({ ...view, cursor: "", ...changes });

/** Nothing filtered. */
export const cleared = () => read("");

export const isFiltered = (view) =>
  LISTS.some((name) => view[name].length > 0) || view.since !== "" || view.until !== "";

/** A view's list without `value`, or with it. */
export function toggled(list, value) {
  return list.includes(value) ? list.filter((other) => other !== value) : [...list, value];
}

/** The parameters of the timeline for a view's filters, and more. */
export function question(view, more = {}) {
  const pairs = LISTS.map((name) => [name, view[name].join(",")]);
  pairs.push(["since", view.since], ["until", view.until]);
  pairs.push(["order", view.order === "desc" ? "" : view.order]);
  return join([...pairs, ...Object.entries(more)]);
}

/** A moment in seconds since the epoch as it stands in an address. */
export function moment(seconds) {
  const date = new Date(seconds * 1000);
  return Number.isNaN(date.getTime()) ? String(seconds) : date.toISOString().replace(".000Z", "Z");
}

/** Seconds since the epoch of a moment in an address; NaN for what is none. */
export function seconds(moment) {
  if (moment === "") {
    return NaN;
  }
  return /^-?[\d.]+$/.test(moment) ? Number(moment) : Date.parse(moment) / 1000;
}
