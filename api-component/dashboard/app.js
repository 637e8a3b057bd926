// The page as a whole: what is known, what is seen, and how both are brought up to date.

import * as addresses from "./address.js";
import { Chart, histogramOf } from "./chart.js";
import { byId, el, show } from "./dom.js";
import { counted, PRIORITIES, renewAges, shortWhen, span, visible } from "./format.js";
import * as health from "./health.js";
import { textOf } from "./json.js";
import * as list from "./list.js";
import * as panels from "./panels.js";
import { ask, Trouble } from "./service.js";

/** How often the service is asked whether there is something new. */
const RENEWAL_S = 20;
/** While it cannot be reached: from the first to the longest wait. */
const RETRY_S = [3, 60];
/** How often the changes since the last day are counted anew: they are eight questions. */
const CHANGES_S = 300;
/** Between two of these questions, so that the limit on requests has room for what a person does. */
const CHANGES_PAUSE_MS = 250;
const DAY_S = 86400;
/** Ages are brought up to date every so many seconds; while something is wrong, every second. */
const TICKS = 5;
/** How many of an employee's incidents are read for its own chart. */
const EMPLOYEE_ROWS = 1000;
/** How many pages are remembered for the back button. */
const MOST_PAGES = 30;

/** What the service told. */
const known = {
  status: null,
  /** When the status was told, by the clock that no one sets. */
  statusAt: 0,
  summary: null,
  /** What the summary and the answers are of. */
  contents: null,
  /** Answers by question, of one snapshot. */
  answers: new Map(),
  changes: null,
  changesAt: -Infinity,
  day: "\u00a0",
};

/** What is seen. */
let view = addresses.read(location.search);
let trail = history.state?.trail ?? [];
/** Why the list is not there. */
let listTrouble = null;
/** What is waited for on behalf of the view; another view gives it up. */
let pending = new AbortController();

/** Why the service cannot be asked now, and when it will be. */
let trouble = null;
let retryAt = 0;
let failures = 0;
let timer = 0;
let isPaused = false;
let isRenewing = false;
let isCounting = false;
let renewedAt = 0;
let lastComplaint = null;

const chart = new Chart((since, until) =>
  go(addresses.changed(view, { since, until }), { isSameStep: true }),
);
const filters = new list.Filters((changes) => go(addresses.changed(view, changes), {}));

const passedS = () => Math.floor((performance.now() - known.statusAt) / 1000);

// ---- What is seen

const isOfOne = () => view.view === "overview" && view.employee.length === 1;
const pageQuestion = () =>
  `incidents/timeline?${addresses.question(view, view.cursor ? { cursor: view.cursor } : {})}`;
const employeeQuestion = () =>
  `incidents/timeline?employee=${encodeURIComponent(view.employee[0])}&limit=${EMPLOYEE_ROWS}`;

function render(isMoved = false) {
  renderFrame();
  if (view.view === "overview") {
    renderOverview(isMoved);
  } else if (view.view === "employees") {
    panels.employees(byId("all-employees"), view, known.summary, 100);
  } else if (view.view === "unattributed") {
    renderUnattributed();
  }
  renderHealth();
}

function renderFrame() {
  for (const name of Object.keys(addresses.VIEWS)) {
    byId(`view-${name}`).hidden = name !== view.view;
  }
  for (const anchor of document.querySelectorAll("nav [data-view]")) {
    const isCurrent = anchor.dataset.view === view.view;
    isCurrent ? anchor.setAttribute("aria-current", "page") : anchor.removeAttribute("aria-current");
  }
  document.title = title();
}

/** What is seen, for the window's title, history and bookmarks. */
function title() {
  const parts = [];
  if (view.view !== "overview") {
    parts.push(addresses.VIEWS[view.view]);
  } else {
    parts.push(
      ...[view.priority, view.type].filter((values) => values.length).map((values) => values.join(", ")),
    );
    if (view.employee.length) {
      parts.push(`employee ${view.employee.join(", ")}`);
    }
    if (view.since || view.until) {
      const moment = (text) => (text ? shortWhen(addresses.seconds(text)) : "…");
      parts.push(`${moment(view.since)} – ${moment(view.until)}`);
    }
  }
  const said = visible(parts.join(" · ").slice(0, 200));
  const mark = trouble || (known.status && health.complaint(known.status)) ? "⚠ " : "";
  return `${mark}${said ? `${said} – Incidents` : "Incidents"}`;
}

function renderOverview(isMoved) {
  const summary = known.summary;
  const one = isOfOne() ? known.answers.get(employeeQuestion()) : null;
  byId("employee").hidden = !isOfOne();
  if (isOfOne()) {
    const employee = one && {
      items: one.items,
      total: Number(one.total ?? one.items.length),
      isWhole: !one.next,
    };
    panels.employee(view, employee, listTrouble);
    panels.tiles(view, countsOfOne(one), null, "All incidents of this employee");
    chart.update(
      one ? histogramOf(one.items) : null,
      view,
      one?.next
        ? `the newest ${EMPLOYEE_ROWS} of employee ${visible(view.employee[0])}`
        : `employee ${visible(view.employee[0])}`,
    );
  } else {
    panels.tiles(view, summary?.priorities ?? null, known.changes, known.day);
    const isPart = view.type.length > 0 || view.employee.length > 0;
    chart.update(
      summary?.histogram ?? null,
      view,
      isPart
        ? "all types, all employees"
        : view.priority.length
          ? `only ${PRIORITIES.filter((priority) => view.priority.includes(priority)).join(", ")}`
          : "all employees",
    );
  }
  show(
    byId("chart-empty"),
    summary
      ? "There is nothing to draw: no incident."
      : listTrouble || trouble
        ? "The numbers could not be read."
        : "Loading…",
  );
  filters.update(view, Object.keys(summary?.types ?? {}), isMoved);
  const page = known.answers.get(pageQuestion()) ?? null;
  list.table(view, page, listTrouble);
  list.pager(view, page, trail);
  panels.employees(byId("top-employees"), view, summary, 10);
  panels.unattributed(byId("top-unattributed"), summary, 8, true);
}

/** An employee's numbers by priority: of the summary, where it is one of the first; of its rows otherwise. */
function countsOfOne(one) {
  const entry = known.summary?.employees.find((entry) => String(entry.employee) === view.employee[0]);
  if (entry || !one) {
    return entry ?? null;
  }
  const count = (priority) => one.items.filter((item) => item.incident.priority === priority).length;
  return Object.fromEntries(PRIORITIES.map((priority) => [priority, count(priority)]));
}

/** How many rows of one address are shown. */
const ADDRESS_ROWS = 200;

function renderUnattributed() {
  panels.unattributed(byId("all-unattributed"), known.summary, 100, true);
  byId("address").hidden = !view.address;
  if (!view.address) {
    return;
  }
  const document = known.answers.get("incidents/unattributed");
  const rows = Object.entries(document ?? {}).flatMap(([type, rows]) =>
    rows
      .filter((row) => Object.values(row).some((value) => textOf(value) === view.address))
      .map((row) => ({ type, row })),
  );
  const shown = rows
    .slice(0, ADDRESS_ROWS)
    .map(({ type, row }, at) =>
      el("li", { "data-key": String(at) }, el("b", {}, visible(type)), list.details(row)),
    );
  const told = document
    ? rows.length > shown.length
      ? `The first ${shown.length} of ${counted(rows.length, "row")}`
      : counted(rows.length, "row")
    : (listTrouble?.message ?? "Loading…");
  show(byId("address-title"), "Rows of ", el("bdi", {}, visible(view.address)));
  show(byId("address-told"), told);
  show(byId("address-rows"), shown);
}

function renderHealth() {
  health.strip(known.status, passedS());
  if (view.view === "health") {
    health.tables(known.status, passedS());
  }
  const text = byId("live");
  text.textContent = trouble
    ? "Not up to date"
    : isPaused
      ? "Paused"
      : renewedAt
        ? `Renewed ${span((performance.now() - renewedAt) / 1000)} ago`
        : "Loading…";
  text.className = trouble ? "live is-troubled" : "live";
}

function renderTrouble() {
  const bar = byId("trouble");
  document.body.classList.toggle("has-trouble", Boolean(trouble));
  if (!trouble) {
    bar.hidden = true;
    show(byId("trouble-text"));
    return;
  }
  const told = [];
  if (renewedAt) {
    told.push(`What you see is ${span((performance.now() - renewedAt) / 1000)} old.`);
  }
  const isLost = trouble.kind === "unauthorized";
  bar.hidden = false;
  if (!isLost && !isPaused) {
    told.push(`Asking again in ${span((retryAt - performance.now()) / 1000 + 1)}.`);
  }
  // Apart, so that it is not read out every second.
  byId("trouble-wait").textContent = told.join(" ");
  show(byId("trouble-text"), visible(trouble.message));
  byId("trouble-act").textContent = isLost ? "Sign in again" : "Ask now";
}

const announce = (text) => {
  byId("announce").textContent = text;
};

// ---- Going from view to view

/** Goes to another view. `isSameStep`: the back button undoes it together with the one before. */
function go(next, { newTrail = [], isSameStep = false, focus = null } = {}) {
  const target = addresses.href(next);
  if (target === addresses.href(view)) {
    render(true);
    return;
  }
  const isReplaced = isSameStep && history.state?.isStep && performance.now() - steppedAt < 3000;
  steppedAt = performance.now();
  const state = { trail: newTrail, isStep: isSameStep };
  isReplaced ? history.replaceState(state, "", target) : history.pushState(state, "", target);
  arrive(focus);
}

let steppedAt = -Infinity;

/** Shows the view that the address says. */
function arrive(focus = null, isBack = false) {
  const before = view;
  view = addresses.read(location.search);
  trail = history.state?.trail ?? [];
  listTrouble = null;
  pending.abort();
  pending = new AbortController();
  setBusy(false);
  render(true);
  const isOther = before.view !== view.view || (isOfOne() && before.employee.join() !== view.employee.join());
  if (focus) {
    document.querySelector(focus)?.focus();
  } else if (isOther) {
    const heading = byId(isOfOne() ? "employee-title" : `title-${view.view}`);
    heading.focus({ preventScroll: true });
    if (!isBack) {
      scrollTo({ top: 0 });
    }
  }
  load().then(announceCount, (error) => {
    report(error);
    plan();
  });
}

function announceCount() {
  if (view.view === "overview") {
    const total = known.answers.get(pageQuestion())?.total;
    announce(
      listTrouble
        ? listTrouble.message
        : total === undefined
          ? "The list is up to date"
          : `${counted(Number(total), "incident")} in the list`,
    );
  }
}

/** What the view is made of, besides the summary. */
function questionsOf() {
  if (view.view === "overview") {
    return isOfOne() ? [pageQuestion(), employeeQuestion()] : [pageQuestion()];
  }
  return view.view === "unattributed" && view.address ? ["incidents/unattributed"] : [];
}

/** Asks for what the view needs and the page does not know yet. */
async function load() {
  const signal = pending.signal;
  const missing = questionsOf().filter((question) => !known.answers.has(question));
  if (missing.length === 0 || trouble?.kind === "unauthorized") {
    return;
  }
  setBusy(true);
  try {
    await Promise.all(missing.map((question) => learn(question, signal)));
    listTrouble = null;
  } catch (error) {
    if (signal.aborted) {
      return;
    }
    listTrouble = error;
    // What is wrong with the question is said in the list; all else concerns the page.
    if (!isRefused(error)) {
      throw error;
    }
  } finally {
    if (!signal.aborted) {
      setBusy(false);
      render();
    }
  }
}

const isRefused = (error) => error instanceof Trouble && error.kind === "refused";

async function learn(question, signal) {
  const answers = known.answers;
  const answer = await ask(question, signal);
  answers.set(question, answer);
  while (answers.size > MOST_PAGES) {
    answers.delete(answers.keys().next().value);
  }
}

const setBusy = (isBusy) => byId("main").setAttribute("aria-busy", String(isBusy));

// ---- Keeping up to date

/** Which contents a status is about; another refresh may confirm the same. */
const contentsOf = (status) =>
  status.snapshot ? `${status.snapshot.generation} ${status.snapshot.etag}` : null;

/** Asks for the state, and where the contents are others, for these. */
async function renew() {
  const isFirst = known.summary === null;
  // The first view waits for nothing that it can ask for at once.
  const early = isFirst ? [learnSummary(), load()] : [];
  // Should the first of them fail, the others' failures are no news.
  for (const asked of early) {
    asked.catch(() => {});
  }
  const status = await ask("status").then(learnStatus);
  await Promise.all(early);
  const contents = contentsOf(status);
  if (isFirst) {
    // Should they be of two snapshots, the next renewal notices.
    const isOne = Number(known.summary.generation) === Number(status.snapshot?.generation);
    known.contents = isOne ? contents : null;
  } else if (contents !== known.contents) {
    await relearn();
    known.contents = contents;
  }
  if (!isRefused(listTrouble)) {
    await load();
  }
  recovered();
}

function learnStatus(status) {
  known.status = status;
  known.statusAt = performance.now();
  const complaint = health.complaint(status);
  if (lastComplaint !== null && complaint !== lastComplaint) {
    announce(complaint ? `The incidents are ${complaint}` : "The incidents are fresh again");
  }
  lastComplaint = complaint;
  renderHealth();
  return status;
}

async function learnSummary() {
  known.summary = await ask("incidents/summary");
  render();
}

/** Other contents: what is seen stays on the screen until all of it has been asked for again. */
async function relearn() {
  const seen = questionsOf().filter((question) => known.answers.has(question));
  const before = known.answers.get(pageQuestion())?.total;
  const [summary, ...answers] = await Promise.all(
    ["incidents/summary", ...seen].map((question) => ask(question)),
  );
  known.summary = summary;
  known.answers = new Map(seen.map((question, at) => [question, answers[at]]));
  render();
  const after = known.answers.get(pageQuestion())?.total;
  if (before !== undefined && after !== undefined && Number(after) !== Number(before)) {
    const more = Number(after) - Number(before);
    announce(more > 0 ? `${counted(more, "new incident")}` : `${counted(-more, "incident")} fewer`);
  }
}

function recovered() {
  const wasTroubled = trouble !== null;
  trouble = null;
  failures = 0;
  renewedAt = performance.now();
  if (wasTroubled) {
    announce("Up to date again");
  }
  renderTrouble();
  render();
}

/** A request failed: says so, and when the next one is made. */
function report(error) {
  if (error?.name === "AbortError") {
    return;
  }
  if (!(error instanceof Trouble)) {
    console.error(error);
  }
  trouble = error instanceof Trouble ? error : new Trouble("damaged", "This page has a fault. Reload it.");
  failures += 1;
  const patience = Math.min(RETRY_S[0] * 2 ** (failures - 1), RETRY_S[1]);
  const waitS = Math.max(trouble.retryS ?? patience, 1);
  retryAt = performance.now() + waitS * 1000;
  renderTrouble();
  render();
}

/** Plans the next renewal: none while nobody looks, or where the password was refused. */
function plan() {
  clearTimeout(timer);
  if (document.hidden || isPaused || trouble?.kind === "unauthorized") {
    return;
  }
  const waitMs = trouble ? Math.max(0, retryAt - performance.now()) : RENEWAL_S * 1000;
  timer = setTimeout(renewNow, waitMs);
}

async function renewNow() {
  clearTimeout(timer);
  if (isRenewing) {
    return;
  }
  isRenewing = true;
  try {
    await renew();
    // Not waited for: meanwhile the page is renewed as usual.
    countChanges();
  } catch (error) {
    report(error);
  } finally {
    isRenewing = false;
    plan();
  }
}

// ---- The change since the last day

/** The day that the tiles tell of: the last 24 hours, or those before the newest incident where that is old. */
async function dayOf(now) {
  const newest = await ask("incidents/timeline?limit=1");
  const last = Number(newest.items[0]?.incident.timestamp);
  if (!Number.isFinite(last)) {
    return null;
  }
  // A moment later, so that the newest is in it.
  return now - last < DAY_S
    ? { end: now, told: "In the last 24 hours, and the 24 hours before" }
    : {
        end: Math.floor(last) + 1,
        told: `In the 24 hours up to the newest incident, ${shortWhen(last)}, and the 24 hours before`,
      };
}

async function countChanges() {
  const isDue = performance.now() - known.changesAt >= CHANGES_S * 1000;
  if (!isDue || isCounting || !known.summary || trouble) {
    return;
  }
  isCounting = true;
  try {
    const found = await changesOf(await dayOf(Math.floor(Date.now() / 60_000) * 60));
    if (found) {
      Object.assign(known, found, { changesAt: performance.now() });
      render();
    }
  } catch (error) {
    report(error);
    plan();
  } finally {
    isCounting = false;
  }
}

/** How many incidents of each priority there were on a day and on the one before; null where that cannot be had now. */
async function changesOf(day) {
  const changes = {};
  for (const priority of day ? PRIORITIES : []) {
    const count = async (from, to) => {
      await new Promise((resolve) => setTimeout(resolve, CHANGES_PAUSE_MS));
      const since = addresses.moment(day.end + from);
      const until = addresses.moment(day.end + to);
      const question = `incidents/timeline?priority=${priority}&since=${since}&until=${until}&limit=1`;
      // Whoever cannot be reached is not asked on.
      return trouble ? NaN : Number((await ask(question)).total ?? NaN);
    };
    const change = { now: await count(-DAY_S, 0), before: await count(-2 * DAY_S, -DAY_S) };
    if (trouble) {
      return null;
    }
    if (Number.isFinite(change.now) && Number.isFinite(change.before)) {
      changes[priority] = change;
    }
  }
  return { changes, day: day?.told ?? "\u00a0" };
}

// ---- What a person does

document.addEventListener("click", (event) => {
  const anchor = event.target.closest?.("a[data-go]");
  const isPlain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
  if (!anchor || !isPlain) {
    return;
  }
  event.preventDefault();
  const isPage = anchor.dataset.trail !== undefined;
  const newTrail = isPage ? JSON.parse(anchor.dataset.trail) : [];
  go(addresses.read(new URL(anchor.href).search), { newTrail, focus: isPage ? "#title-list" : null });
});
addEventListener("popstate", () => arrive(null, true));
byId("range-clear").addEventListener("click", () => {
  go(addresses.changed(view, { since: "", until: "" }));
  byId("range-from").focus();
});
byId("pause").addEventListener("click", () => {
  isPaused = !isPaused;
  byId("pause").setAttribute("aria-pressed", String(isPaused));
  renderHealth();
  renderTrouble();
  isPaused ? clearTimeout(timer) : renewNow();
});
byId("trouble-act").addEventListener("click", () => {
  trouble?.kind === "unauthorized" ? location.reload() : renewNow();
});
document.addEventListener("visibilitychange", () => {
  clearTimeout(timer);
  if (!document.hidden && !isPaused && trouble?.kind !== "unauthorized") {
    const isOld = performance.now() - renewedAt > RENEWAL_S * 1000;
    isOld && performance.now() >= retryAt ? renewNow() : plan();
  }
});
addEventListener("online", () => {
  if (trouble?.kind === "unreachable" && !isPaused) {
    renewNow();
  }
});
addEventListener("error", () => report(new Trouble("damaged", "This page has a fault. Reload it.")));

let ticks = 0;
setInterval(() => {
  ticks += 1;
  if (!document.hidden && (trouble || ticks % TICKS === 0)) {
    renderHealth();
    renderTrouble();
    renewAges();
  }
}, 1000);

byId("loading").hidden = true;
byId("page").hidden = false;
render(true);
renewNow();
