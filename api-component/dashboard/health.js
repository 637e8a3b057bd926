// Freshness and health: the strip at the top of every view, and the view with all of it.

import * as addresses from "./address.js";
import { byId, el, icon, show } from "./dom.js";
import { counted, number, span, visible } from "./format.js";
import { link, nothing } from "./panels.js";

const STATES = ["healthy", "hanging", "offline"];

/** What is to be said of the snapshot and the endpoints. `passedS` went by since the status was told. */
function judge(status, passedS) {
  const { snapshot } = status;
  if (!snapshot) {
    return { level: "bad", word: "No snapshot yet", note: "the first refresh is not done" };
  }
  const ages = `checked ${span(snapshot.checked_age_s + passedS)} ago, changed ${span(snapshot.age_s + passedS)} ago`;
  if (snapshot.recovered) {
    return { level: "bad", word: "Recovered", note: `from the history, ${ages}` };
  }
  return snapshot.stale
    ? { level: "warn", word: "Stale", note: ages }
    : { level: "good", word: "Fresh", note: ages };
}

/** All endpoints, with what is wrong with each. */
function endpoints(snapshot) {
  return [{ type: "identities", ...snapshot.identities }, ...snapshot.types].map((source) => ({
    ...source,
    state: source.age_s === null ? "missing" : source.stale ? "stale" : source.error ? "failing" : "well",
  }));
}

function judgeEndpoints(snapshot, passedS) {
  const all = endpoints(snapshot);
  const ill = all.filter((source) => source.state !== "well");
  if (ill.length === 0) {
    return { level: "good", word: `${all.length} well`, note: "all answered the last refresh" };
  }
  const [worst] = ["missing", "stale", "failing"].flatMap((state) =>
    ill.filter((source) => source.state === state),
  );
  const age = worst.age_s === null ? "never answered" : `${span(worst.age_s + passedS)} old`;
  return {
    level: ill.some((source) => source.state === "missing") ? "bad" : "warn",
    word: `${ill.length} of ${all.length} ${ill.every((source) => source.state === worst.state) ? worst.state : "not well"}`,
    note: `${worst.type}: ${worst.error ?? "no answer"}; ${age}`,
  };
}

function judgeNodes(nodes) {
  const counts = STATES.map((state) => [state, nodes.filter((node) => node.state === state).length]);
  const told = counts.filter(([, count]) => count > 0).map(([state, count]) => `${count} ${state}`);
  const ill = nodes.filter((node) => node.state !== "healthy");
  const leader = nodes.find((node) => node.leads);
  return {
    level: ill.length ? "warn" : "good",
    word: told.join(", ") || "none reported",
    note: ill.length
      ? ill.map((node) => `${node.id} is ${node.state}`).join(", ")
      : leader
        ? `${leader.id} leads`
        : "no leader",
  };
}

const MARKS = { good: "well", warn: "warn", bad: "bad", plain: null };

function fact(key, name, { level, word, note }, target) {
  const shown = visible(note);
  return el(
    "div",
    { class: `fact fact-${level}`, "data-key": key },
    el("dt", {}, name),
    el(
      "dd",
      { class: "fact-word" },
      MARKS[level] ? icon(MARKS[level]) : null,
      target ? link(target, {}, word) : word,
    ),
    el("dd", { class: "fact-note", title: shown }, shown),
  );
}

/** The strip. */
export function strip(status, passedS) {
  const health = { ...addresses.cleared(), view: "health" };
  const nobody = { ...addresses.cleared(), view: "unattributed" };
  if (!status) {
    const loading = { level: "plain", word: "–", note: "loading" };
    const names = ["Snapshot", "Endpoints", "Nodes", "Unattributed", "Rejected"];
    show(
      byId("strip"),
      names.map((name) => fact(name.toLowerCase(), name, loading)),
    );
    return;
  }
  const { snapshot } = status;
  const totals = snapshot?.totals ?? { unattributed: 0, rejected: 0, fetched: 0 };
  const none = { level: "plain", word: "–", note: "no snapshot yet" };
  const all = `of ${counted(totals.fetched, "row")}`;
  show(
    byId("strip"),
    fact("snapshot", "Snapshot", judge(status, passedS), health),
    fact("endpoints", "Endpoints", snapshot ? judgeEndpoints(snapshot, passedS) : none, health),
    fact("nodes", "Nodes", judgeNodes(status.nodes), health),
    fact(
      "unattributed",
      "Unattributed",
      { level: "plain", word: number(totals.unattributed), note: `${all}: no employee has the address` },
      nobody,
    ),
    fact(
      "rejected",
      "Rejected",
      {
        level: totals.rejected ? "warn" : "plain",
        word: number(totals.rejected),
        note: `${all}: not usable`,
      },
      health,
    ),
  );
}

/** In a word or two, for the announcements and the title; empty while all is well. */
export function complaint(status) {
  const { snapshot } = status;
  if (!snapshot) {
    return "no snapshot yet";
  }
  if (snapshot.recovered) {
    return "recovered from the history";
  }
  return snapshot.stale ? "stale" : "";
}

const state = (level, word) => el("span", { class: `state state-${level}` }, icon(MARKS[level]), word);

const head = (...names) =>
  el(
    "thead",
    {},
    el(
      "tr",
      {},
      names.map(([name, type]) => el("th", { scope: "col", class: type ?? null }, name)),
    ),
  );

/** The tables of the view *Health*. */
export function tables(status, passedS) {
  endpointTable(status?.snapshot ?? null, passedS);
  nodeTable(status, passedS);
  show(byId("service-facts"), status ? serviceFacts(status, passedS) : []);
}

function endpointTable(snapshot, passedS) {
  const rows = (snapshot ? endpoints(snapshot) : []).map((source) => {
    const level = { well: "good", stale: "warn", failing: "warn", missing: "bad" }[source.state];
    const isMap = source.fetched === undefined;
    const counts = isMap
      ? [`${number(source.entries)} entries`, "", "", source.rejected]
      : [source.fetched, source.reported, source.unattributed, source.rejected];
    return el(
      "tr",
      { "data-key": source.type },
      el("th", { scope: "row" }, visible(source.type)),
      el("td", {}, state(level, source.state)),
      el("td", {}, source.age_s === null ? "never" : `${span(source.age_s + passedS)} ago`),
      counts.map((count) =>
        el("td", { class: "count" }, typeof count === "number" ? number(count) : String(count)),
      ),
      el("td", { class: "error" }, source.error ? visible(source.error) : "–"),
    );
  });
  show(
    byId("endpoints-table"),
    el("caption", { class: "hidden" }, "Upstream's endpoints"),
    head(
      ["Endpoint"],
      ["State"],
      ["Last good answer"],
      ["Fetched", "count"],
      ["Reported", "count"],
      ["Unattributed", "count"],
      ["Rejected", "count"],
      ["Last error"],
    ),
    el(
      "tbody",
      {},
      rows.length ? rows : nothing(8, "There is no snapshot yet. Look at the refresher's log if this stays."),
    ),
  );
}

function nodeTable(status, passedS) {
  const rows = (status?.nodes ?? []).map((node) =>
    el(
      "tr",
      { "data-key": `${node.kind} ${node.id}` },
      el("th", { scope: "row" }, visible(node.id)),
      el("td", {}, node.leads ? `${node.kind}, leads` : visible(node.kind)),
      el("td", {}, state({ healthy: "good", hanging: "warn" }[node.state] ?? "bad", node.state)),
      el("td", {}, `${span(node.beat_age_s + passedS)} ago`),
      el("td", {}, `${span(node.progress_age_s + passedS)} ago`),
      el("td", {}, span(node.since_s + passedS)),
      el("td", {}, visible(node.release)),
      el("td", { class: "error" }, visible(node.last)),
    ),
  );
  show(
    byId("nodes-table"),
    el("caption", { class: "hidden" }, "Nodes of the service"),
    head(
      ["Node"],
      ["Kind"],
      ["State"],
      ["Last heard of"],
      ["Last progress"],
      ["Up for"],
      ["Release"],
      ["Last step"],
    ),
    el("tbody", {}, rows.length ? rows : nothing(8, "No node reports itself.")),
  );
}

function serviceFacts(status, passedS) {
  const { snapshot, history, node_changes: changes, commands } = status;
  const facts = [];
  if (snapshot) {
    facts.push(
      ["Generation", String(snapshot.generation)],
      ["Entity tag", snapshot.etag],
      ["Employees", number(snapshot.employees)],
    );
  }
  if (history) {
    const recorded =
      history.recorded_age_s === null
        ? "nothing recorded yet"
        : `recorded ${span(history.recorded_age_s + passedS)} ago`;
    const failures = history.failures
      ? `, ${counted(history.failures, "failure")}${history.error ? `: ${history.error}` : ""}`
      : "";
    facts.push(["History", `${history.store}, ${recorded}${failures}`]);
  } else {
    facts.push(["History", "none is kept"]);
  }
  facts.push(["Changes of nodes", STATES.map((name) => `${number(changes[name])} × ${name}`).join(", ")]);
  facts.push(["Commands set aside", number(commands.set_aside)]);
  return facts.map(([name, value]) =>
    el("div", { "data-key": name }, el("dt", {}, name), el("dd", {}, visible(value))),
  );
}
