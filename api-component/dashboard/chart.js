// The histogram over time: stacked by priority, with a range that mouse, finger and keyboard can choose.

import * as addresses from "./address.js";
import { byId, el, show, svg } from "./dom.js";
import { counted, formatter, number, PRIORITIES, shortWhen, span } from "./format.js";

const HEIGHT = 190;
const TOP = 8;
const BOTTOM = 26;
const LEFT = 44;
const RIGHT = 32;

/** How long another key may follow that moves an end of the range. */
const KEYS_MS = 350;

const HOUR = 3600;
const DAY = 86400;
/** Distances between marks of the time axis: seconds below a day, days below a month, then months. */
const STEPS = [
  ...[60, 300, 900, 1800, HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR].map((seconds) => ({ seconds })),
  ...[1, 2, 7, 14].map((days) => ({ days, seconds: days * DAY })),
  ...[1, 3, 6, 12, 24, 60, 120].map((months) => ({ months, seconds: months * 30.44 * DAY })),
];
const CLOCK = formatter({ hour: "2-digit", minute: "2-digit" });
const DATE = formatter({ day: "numeric", month: "short" });
const MONTH = formatter({ month: "short", year: "numeric" });

/** The bars' widths, in seconds, for a histogram that the page makes itself. */
const WIDTHS = [60, 300, 900, HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 7 * DAY, 30 * DAY, 365 * DAY];
const MOST_BARS = 80;

/** A histogram of `items` of the timeline, in the form that the summary has it. */
export function histogramOf(items) {
  const times = items.map((item) => Number(item.incident.timestamp)).filter(Number.isFinite);
  if (times.length === 0) {
    return null;
  }
  const first = times.reduce((a, b) => Math.min(a, b));
  const last = times.reduce((a, b) => Math.max(a, b));
  const width = WIDTHS.find((width) => (last - first) / width < MOST_BARS - 1);
  const width_s = width ?? Math.ceil((last - first) / (MOST_BARS - 1));
  const start = Math.floor(first / width_s) * width_s;
  const length = Math.floor((last - start) / width_s) + 1;
  const histogram = { start, width_s };
  for (const priority of PRIORITIES) {
    histogram[priority] = new Array(length).fill(0);
  }
  for (const { incident } of items) {
    const at = Math.floor((Number(incident.timestamp) - start) / width_s);
    const bars = histogram[incident.priority];
    if (bars && at >= 0 && at < length) {
      bars[at] += 1;
    }
  }
  return histogram;
}

/** A histogram's bars; null where it has none. */
function barsOf(histogram, priorities) {
  const length = Math.max(0, ...PRIORITIES.map((priority) => histogram?.[priority]?.length ?? 0));
  const start = Number(histogram?.start);
  const width = Number(histogram?.width_s);
  if (length === 0 || !Number.isFinite(start) || !(width > 0)) {
    return null;
  }
  // The most severe at the bottom, where their heights can be compared.
  const shown = PRIORITIES.filter((priority) => priorities.length === 0 || priorities.includes(priority));
  const totals = Array.from({ length }, (_, at) =>
    shown.reduce((sum, priority) => sum + Number(histogram[priority]?.[at] ?? 0), 0),
  );
  return { start, width, length, shown, totals, counts: histogram, end: start + length * width };
}

export class Chart {
  #choose;
  #bars = null;
  #view = null;
  /** What is being chosen: [from, to) as numbers of bars. */
  #chosen = null;
  #drag = null;
  #width = 0;
  /** The range that a key has changed, until no more keys come. */
  #waiting = 0;

  /** `choose(since, until)` is told a chosen range, as it stands in an address. */
  constructor(choose) {
    this.#choose = choose;
    this.plot = byId("plot");
    this.svg = byId("bars");
    this.tip = byId("tip");
    this.from = byId("range-from");
    this.to = byId("range-to");
    new ResizeObserver(() => this.#draw()).observe(this.plot);
    this.plot.addEventListener("pointerdown", (event) => this.#press(event));
    this.plot.addEventListener("pointermove", (event) => this.#move(event));
    this.plot.addEventListener("pointerup", () => this.#release());
    this.plot.addEventListener("pointercancel", () => this.#abandon());
    this.plot.addEventListener("pointerleave", () => this.#hideTip());
    for (const end of [this.from, this.to]) {
      end.addEventListener("keydown", (event) => this.#key(event, end));
      end.addEventListener("blur", () => this.#hideTip());
    }
    byId("numbers").addEventListener("toggle", () => this.#tabulate());
  }

  /** Shows a histogram for a view; `about` says whose it is. */
  update(histogram, view, about) {
    this.#bars = barsOf(histogram, view.priority);
    this.#view = view;
    if (!this.#drag && !this.#waiting) {
      this.#chosen = this.#rangeOf(view);
    }
    show(byId("chart-about"), about);
    this.plot.classList.toggle("is-empty", !this.#bars);
    byId("chart-empty").hidden = Boolean(this.#bars);
    this.#draw();
    this.#tabulate();
  }

  #rangeOf(view) {
    const bars = this.#bars;
    if (!bars) {
      return null;
    }
    const nearest = (moment, other) => {
      const at = Math.round((addresses.seconds(moment) - bars.start) / bars.width);
      return Number.isNaN(at) ? other : Math.min(Math.max(at, 0), bars.length);
    };
    const from = Math.min(nearest(view.since, 0), bars.length - 1);
    return [from, Math.max(nearest(view.until, bars.length), from + 1)];
  }

  #press(event) {
    if (!this.#bars || event.button !== 0) {
      return;
    }
    event.preventDefault();
    this.plot.setPointerCapture(event.pointerId);
    const end = [this.from, this.to].find((end) => end === event.target) ?? null;
    end?.focus();
    this.#drag = { at: this.#barAt(event), end, before: this.#chosen };
    if (!end) {
      this.#move(event);
    }
  }

  #move(event) {
    if (!this.#bars) {
      return;
    }
    const at = this.#barAt(event);
    if (this.#drag?.end) {
      this.#put(this.#drag.end, Math.round(this.#placeOf(event)));
      return;
    }
    if (this.#drag) {
      this.#chosen = [Math.min(this.#drag.at, at), Math.max(this.#drag.at, at) + 1];
      this.#drawRange();
    }
    this.#showTip(at);
  }

  #release() {
    if (this.#drag) {
      this.#drag = null;
      this.#commit();
    }
  }

  #abandon() {
    if (this.#drag) {
      this.#chosen = this.#drag.before;
      this.#drag = null;
      this.#drawRange();
    }
    this.#hideTip();
  }

  /** Puts an end of the range before the bar `place`; the two may not pass each other. */
  #put(end, place) {
    const [from, to] = this.#chosen;
    const clamp = (least, most) => Math.min(Math.max(place, least), most);
    this.#chosen = end === this.from ? [clamp(0, to - 1), to] : [from, clamp(from + 1, this.#bars.length)];
    this.#drawRange();
    this.#showTip(end === this.from ? this.#chosen[0] : this.#chosen[1] - 1);
  }

  #key(event, end) {
    const bars = this.#bars;
    if (!bars || event.altKey || event.ctrlKey || event.metaKey) {
      return;
    }
    const place = this.#chosen[end === this.from ? 0 : 1];
    const page = Math.max(2, Math.round(bars.length / 10));
    const places = {
      ArrowLeft: place - 1,
      ArrowDown: place - 1,
      ArrowRight: place + 1,
      ArrowUp: place + 1,
      PageDown: place - page,
      PageUp: place + page,
      Home: 0,
      End: bars.length,
    };
    if (Object.hasOwn(places, event.key)) {
      event.preventDefault();
      this.#put(end, places[event.key]);
      this.#commitSoon();
    }
  }

  #commitSoon() {
    clearTimeout(this.#waiting);
    this.#waiting = setTimeout(() => this.#commit(), KEYS_MS);
  }

  #commit() {
    clearTimeout(this.#waiting);
    this.#waiting = 0;
    const bars = this.#bars;
    if (!bars || !this.#chosen) {
      return;
    }
    const [from, to] = this.#chosen;
    const at = (bar) => addresses.moment(bars.start + bar * bars.width);
    this.#choose(from === 0 ? "" : at(from), to === bars.length ? "" : at(to));
  }

  /** Where a pointer is, in bars from the beginning. */
  #placeOf(event) {
    const x = event.clientX - this.plot.getBoundingClientRect().left - LEFT;
    return (x / this.#inner()) * this.#bars.length;
  }

  #barAt(event) {
    return Math.min(Math.max(Math.floor(this.#placeOf(event)), 0), this.#bars.length - 1);
  }

  #inner = () => Math.max(1, this.#width - LEFT - RIGHT);

  #x = (bar) => LEFT + (bar / this.#bars.length) * this.#inner();

  #draw() {
    this.#width = this.plot.clientWidth;
    if (this.#width === 0) {
      return;
    }
    this.svg.setAttribute("viewBox", `0 0 ${this.#width} ${HEIGHT}`);
    const bars = this.#bars;
    if (!bars) {
      show(this.svg);
      byId("chart-text").textContent = "There is nothing to draw.";
      return;
    }
    const top = niceTop(Math.max(...bars.totals));
    show(
      this.svg,
      svg("g", { class: "grid" }, this.#grid(top)),
      svg("g", { class: "marks" }, this.#marks()),
      this.#paths(top),
      svg("g", { class: "outside" }, svg("rect", { class: "before" }), svg("rect", { class: "after" })),
      svg("line", {
        class: "axis",
        x1: LEFT,
        x2: this.#x(bars.length),
        y1: HEIGHT - BOTTOM + 0.5,
        y2: HEIGHT - BOTTOM + 0.5,
      }),
    );
    this.#drawRange();
    const most = Math.max(...bars.totals);
    const peak = bars.totals.indexOf(most);
    byId("chart-text").textContent =
      `Histogram of ${bars.length} periods of ${span(bars.width)} from ${shortWhen(bars.start)} to ` +
      `${shortWhen(bars.end)}. The most, ${counted(most, "incident")}, ` +
      `from ${shortWhen(bars.start + peak * bars.width)}.`;
  }

  #y = (count, top) => HEIGHT - BOTTOM - (count / top) * (HEIGHT - TOP - BOTTOM);

  #grid(top) {
    const step = top / (Number.isInteger(top / 4) ? 4 : Number.isInteger(top / 2) ? 2 : 1);
    const lines = [];
    for (let count = step; count <= top; count += step) {
      const y = Math.round(this.#y(count, top)) + 0.5;
      lines.push(
        svg("line", { x1: LEFT, x2: this.#x(this.#bars.length), y1: y, y2: y }),
        svg("text", { x: LEFT - 6, y: y + 4, "text-anchor": "end" }, compact(count)),
      );
    }
    return lines;
  }

  #marks() {
    const { start, width, end } = this.#bars;
    const wanted = Math.max(2, Math.floor(this.#inner() / 76));
    const step = STEPS.find((step) => (end - start) / step.seconds <= wanted) ?? STEPS.at(-1);
    return moments(step, start, end).flatMap((moment) => {
      const x = Math.round(this.#x((moment - start) / width)) + 0.5;
      const line = svg("line", { x1: x, x2: x, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM + 5 });
      const fits = x < this.#width - 28;
      const text = svg("text", { x, y: HEIGHT - 6, "text-anchor": "middle" }, label(step, moment));
      return fits ? [line, text] : [line];
    });
  }

  /** A path for each priority. */
  #paths(top) {
    const bars = this.#bars;
    const gap = this.#inner() / bars.length > 4 ? 1 : 0;
    const heights = new Array(bars.length).fill(0);
    return bars.shown.map((priority) => {
      let path = "";
      for (let at = 0; at < bars.length; at += 1) {
        const count = Number(bars.counts[priority]?.[at] ?? 0);
        if (count > 0) {
          const [left, right] = [this.#x(at), this.#x(at + 1) - gap];
          const low = this.#y(heights[at], top);
          heights[at] += count;
          const high = this.#y(heights[at], top);
          path += `M${left.toFixed(1)} ${low.toFixed(1)}V${high.toFixed(1)}H${right.toFixed(1)}V${low.toFixed(1)}z`;
        }
      }
      return svg("path", { class: `bar bar-${priority}`, d: path });
    });
  }

  #drawRange() {
    const bars = this.#bars;
    if (!bars || !this.#chosen) {
      return;
    }
    const [from, to] = this.#chosen;
    const veil = (name, left, right) => {
      const rect = this.svg.querySelector(`.${name}`);
      rect?.setAttribute("x", left);
      rect?.setAttribute("y", TOP);
      rect?.setAttribute("width", Math.max(0, right - left));
      rect?.setAttribute("height", HEIGHT - TOP - BOTTOM);
    };
    veil("before", LEFT, this.#x(from));
    veil("after", this.#x(to), this.#x(bars.length));
    for (const [end, place] of [
      [this.from, from],
      [this.to, to],
    ]) {
      end.setAttribute("aria-valuemax", bars.length);
      end.setAttribute("aria-valuenow", place);
      end.setAttribute("aria-valuetext", shortWhen(bars.start + place * bars.width));
      end.style.setProperty("left", `${this.#x(place)}px`);
    }
    const isWhole = from === 0 && to === bars.length;
    const [left, right] = [bars.start + from * bars.width, bars.start + to * bars.width];
    byId("range-text").textContent = isWhole
      ? `${shortWhen(left)} – ${shortWhen(right)}, ${span(bars.width)} a bar. Drag over the chart, or move the ends below it, to choose a range.`
      : `Chosen: ${shortWhen(left)} – ${shortWhen(right)}`;
    byId("range-clear").hidden = isWhole && !this.#view.since && !this.#view.until;
  }

  #showTip(at) {
    const bars = this.#bars;
    const rows = bars.shown.map((priority) =>
      el(
        "span",
        { class: `tip-row key-${priority}` },
        `${priority} `,
        el("b", {}, number(Number(bars.counts[priority]?.[at] ?? 0))),
      ),
    );
    show(this.tip, el("span", { class: "tip-time" }, shortWhen(bars.start + at * bars.width)), rows);
    this.tip.hidden = false;
    const middle = this.#x(at + 0.5);
    const half = this.tip.offsetWidth / 2;
    const left = Math.min(Math.max(middle, half), this.#width - half);
    this.tip.style.setProperty("left", `${left}px`);
  }

  #hideTip() {
    this.tip.hidden = true;
  }

  /** The bars as a table, made when somebody wants it. */
  #tabulate() {
    const bars = this.#bars;
    if (!byId("numbers").open) {
      return;
    }
    const heads = ["From", ...(bars?.shown ?? []), "All"].map((name) => el("th", { scope: "col" }, name));
    const rows = [];
    for (let at = 0; bars && at < bars.length; at += 1) {
      if (bars.totals[at] > 0) {
        const counts = bars.shown.map((priority) =>
          el("td", {}, number(Number(bars.counts[priority]?.[at] ?? 0))),
        );
        rows.push(
          el(
            "tr",
            {},
            el("th", { scope: "row" }, shortWhen(bars.start + at * bars.width)),
            counts,
            el("td", {}, number(bars.totals[at])),
          ),
        );
      }
    }
    show(byId("numbers-table"), el("thead", {}, el("tr", {}, heads)), el("tbody", {}, rows));
  }
}

/** The least number of the form 1, 2, 4 or 8 times a power of ten (or 4 and less) that is not below `count`. */
function niceTop(count) {
  let power = 1;
  while (power * 8 < count) {
    power *= 10;
  }
  return [1, 2, 4, 8].map((factor) => factor * power).find((top) => top >= count) ?? power * 10;
}

const COMPACT = new Intl.NumberFormat("en", { notation: "compact" });
const compact = (count) => COMPACT.format(count);

/** Where the marks of the time axis stand: at whole hours, days and months of the reader's zone. */
function moments(step, start, end) {
  const date = new Date(start * 1000);
  if (Number.isNaN(date.getTime())) {
    return [];
  }
  date.setSeconds(0, 0);
  if (step.months) {
    date.setHours(0, 0);
    date.setMonth(0, 1);
  } else if (step.days) {
    date.setHours(0, 0);
  } else {
    date.setHours(step.seconds >= HOUR ? 0 : date.getHours(), 0);
  }
  const found = [];
  while (date.getTime() / 1000 < end) {
    if (date.getTime() / 1000 >= start) {
      found.push(date.getTime() / 1000);
    }
    if (step.months) {
      date.setMonth(date.getMonth() + step.months);
    } else if (step.days) {
      date.setDate(date.getDate() + step.days);
    } else {
      date.setTime(date.getTime() + step.seconds * 1000);
    }
  }
  return found;
}

function label(step, moment) {
  const date = new Date(moment * 1000);
  if (step.months >= 12) {
    return String(date.getFullYear());
  }
  if (step.months) {
    return MONTH.format(date);
  }
  const isMidnight = date.getHours() === 0 && date.getMinutes() === 0;
  return step.days || isMidnight ? DATE.format(date) : CLOCK.format(date);
}
