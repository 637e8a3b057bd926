// Times, ages, numbers and texts as a person reads them.

import { el } from "./dom.js";

/** From the most to the least severe, as they are shown. */
export const PRIORITIES = ["critical", "high", "medium", "low"];

// The page is in English: so are its dates, in the order that the reader is used to if theirs is English too.
const LOCALE = navigator.languages.find((language) => language.startsWith("en")) ?? "en-GB";

const WHEN = new Intl.DateTimeFormat(LOCALE, {
  dateStyle: "medium",
  timeStyle: "medium",
  hourCycle: "h23",
});
const SHORT = new Intl.DateTimeFormat(LOCALE, {
  day: "numeric",
  month: "short",
  year: "numeric",
  hour: "2-digit",
  minute: "2-digit",
  hourCycle: "h23",
});
const NUMBER = new Intl.NumberFormat(LOCALE);
const UNITS = [
  [365.25 * 86400, "y"],
  [30.44 * 86400, "mo"],
  [86400, "d"],
  [3600, "h"],
  [60, "min"],
  [1, "s"],
];

/** The reader's zone, as it is named now. */
export const ZONE =
  new Intl.DateTimeFormat(LOCALE, { timeZoneName: "short" })
    .formatToParts()
    .find((part) => part.type === "timeZoneName")?.value ?? "local time";

export const formatter = (options) => new Intl.DateTimeFormat(LOCALE, { hourCycle: "h23", ...options });

export const number = (value) => NUMBER.format(value);

/** "1 row", "2 rows". */
export const counted = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

/** A moment in seconds since the epoch as a date; null where the calendar has none. */
function dateOf(seconds) {
  const date = new Date(Number(seconds) * 1000);
  return Number.isNaN(date.getTime()) ? null : date;
}

export function when(seconds) {
  const date = dateOf(seconds);
  return date ? WHEN.format(date) : String(seconds);
}

export function shortWhen(seconds) {
  const date = dateOf(seconds);
  return date ? SHORT.format(date) : String(seconds);
}

/** How long something lasts, in its largest unit: "12 s", "3 h". */
export function span(seconds) {
  const positive = Math.max(0, Math.floor(seconds));
  const [size, unit] = UNITS.find(([size]) => positive >= size) ?? [1, "s"];
  return `${number(Math.floor(positive / size))} ${unit}`;
}

/** How long ago a moment is. */
export function ago(seconds) {
  const age = Date.now() / 1000 - seconds;
  return age >= -1 ? `${span(age)} ago` : `in ${span(-age)}`;
}

/** A moment as an element: the reader's own time, what upstream wrote on hover. */
export function timeElement(timestamp) {
  const date = dateOf(timestamp);
  const attributes = { title: `${timestamp} (seconds since 1970, as sent)` };
  if (date && date.getUTCFullYear() > 0 && date.getUTCFullYear() < 10000) {
    attributes.datetime = date.toISOString();
  }
  return el("time", attributes, when(timestamp));
}

/** How long ago a moment is, as an element that `renewAges` keeps true. */
export function ageElement(timestamp) {
  const attributes = { "data-at": String(timestamp), title: when(timestamp) };
  return el("span", attributes, dateOf(timestamp) ? ago(Number(timestamp)) : "–");
}

export function renewAges() {
  for (const element of document.querySelectorAll("[data-at]")) {
    const text = ago(Number(element.dataset.at));
    if (element.firstChild && element.firstChild.data !== text && element.firstChild.data !== "–") {
      element.firstChild.data = text;
    }
  }
}

/**
 * A text from outside, so that what cannot be seen is seen: control characters, what turns the direction of
 * reading, what has no width.
 */
export function visible(text) {
  return String(text).replace(
    /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu,
    (character) => `\\u${character.codePointAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** A text from outside as an element, apart from the direction in which its neighbours read. */
export const foreign = (text, name = "bdi") => el(name, { dir: "auto" }, visible(text));
