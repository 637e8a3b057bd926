// Asks the service. Every failure becomes a Trouble that says what happened, what to do and when it is worth
// asking again.

import { parse } from "./json.js";

/** Longer than the service needs: it answers within a second, or waits a while for the very first snapshot. */
const PATIENCE_MS = 30_000;

// Relative to the page, wherever a proxy puts it; without the login that a person may have put in its address.
const BASE = new URL(".", location.origin + location.pathname);

export const address = (path) => new URL(path, BASE);

/** Why there is no answer. */
export class Trouble extends Error {
  constructor(kind, message, retryS = null) {
    super(message);
    /** `unreachable`, `unauthorized`, `limited`, `unavailable`, `refused` or `damaged` */
    this.kind = kind;
    /** After how many seconds it is worth asking again, where the service said so. */
    this.retryS = retryS;
  }
}

/**
 * The JSON at `path`. The browser's cache asks with If-None-Match by itself where an answer had a tag.
 * @throws {Trouble}
 */
export async function ask(path, signal = null) {
  const timeout = AbortSignal.timeout(PATIENCE_MS);
  let response;
  let text;
  try {
    response = await fetch(address(path), {
      // The second has a refused password told to this page, in place of the browser's own question.
      headers: { accept: "application/json", "x-requested-with": "XMLHttpRequest" },
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
    });
    text = await response.text();
  } catch (error) {
    signal?.throwIfAborted();
    const what = error.name === "TimeoutError" ? "does not answer" : "cannot be reached";
    throw new Trouble("unreachable", `The service ${what}. Check the network, or whether it is running.`);
  }
  if (!response.ok) {
    throw refusal(response, text);
  }
  try {
    return parse(text);
  } catch {
    throw new Trouble(
      "damaged",
      "The service's answer could not be read. Reload the page; it may be of another release.",
    );
  }
}

function refusal(response, text) {
  const wait = Number.parseInt(response.headers.get("retry-after"), 10);
  const retryS = Number.isFinite(wait) ? wait : null;
  const detail = detailOf(text) ?? `The service answered ${response.status}.`;
  switch (response.status) {
    case 401:
      return new Trouble("unauthorized", "The password is not accepted any more. Sign in again to go on.");
    case 429:
      return new Trouble("limited", detail, retryS);
    case 503:
      return new Trouble("unavailable", detail, retryS);
    default:
      return new Trouble(response.status < 500 ? "refused" : "unavailable", detail, retryS);
  }
}

/** What a problem document says to a person. */
function detailOf(text) {
  try {
    const { detail } = parse(text);
    return typeof detail === "string" && detail ? detail : null;
  } catch {
    return null;
  }
}
