// Reads JSON without losing what upstream wrote: numbers beyond a double's precision keep their digits,
// members keep their order and those of one name all stay (JSON.parse does none of the three).

/** The members of an object as they stood in the text: an array of [name, value]. */
export const MEMBERS = Symbol("members");

/** A number whose digits a double would change: calculates like a number, reads as it was written. */
class Exact {
  #digits;

  constructor(digits) {
    this.#digits = digits;
  }

  valueOf() {
    return Number(this.#digits);
  }

  toString() {
    return this.#digits;
  }
}

const TOKEN = /[\t\n\r ]*(?:([{}[\],:])|("[^"\\]*(?:\\.[^"\\]*)*")|(-?\d[\d.eE+-]*)|(true|false|null))/sy;

/**
 * The value that `text` holds. Objects have no prototype, so that no name in them means anything.
 * @throws {SyntaxError} for what is not JSON
 */
export function parse(text) {
  let at = 0;
  let token = read();
  const result = value();
  if (token || text.slice(at).trim()) {
    throw new SyntaxError("The JSON goes on where it should end.");
  }
  return result;

  function read() {
    TOKEN.lastIndex = at;
    const found = TOKEN.exec(text);
    at = found ? TOKEN.lastIndex : at;
    return found;
  }

  function take(sign) {
    const isNext = token?.[1] === sign;
    if (isNext) {
      token = read();
    }
    return isNext;
  }

  function expect(condition) {
    if (!condition) {
      throw new SyntaxError(`No JSON at ${at}.`);
    }
  }

  function scalar() {
    const [, , string, number, word] = token;
    token = read();
    if (string !== undefined) {
      return JSON.parse(string);
    }
    if (word !== undefined) {
      return { true: true, false: false, null: null }[word];
    }
    expect(Number.isFinite(Number(number)));
    return String(Number(number)) === number ? Number(number) : new Exact(number);
  }

  function value() {
    expect(token);
    if (take("{")) {
      return object();
    }
    if (take("[")) {
      return list();
    }
    expect(token[1] === undefined);
    return scalar();
  }

  function list() {
    const items = [];
    while (!take("]")) {
      expect(items.length === 0 || take(","));
      items.push(value());
    }
    return items;
  }

  function object() {
    const result = Object.create(null);
    const members = [];
    while (!take("}")) {
      expect(members.length === 0 || take(","));
      expect(token?.[2] !== undefined);
      const name = scalar();
      expect(take(":"));
      const member = value();
      members.push([name, member]);
      result[name] = member;
    }
    result[MEMBERS] = members;
    return result;
  }
}

/** A value as it reads: a text itself, anything else as JSON. */
export const textOf = (value) => (typeof value === "string" ? value : write(value));

/** A value as JSON, with the digits that it had, on one line. */
export function write(value) {
  if (Array.isArray(value)) {
    return `[${value.map(write).join(", ")}]`;
  }
  if (value instanceof Exact) {
    return String(value);
  }
  if (value !== null && typeof value === "object") {
    const members = value[MEMBERS].map(([name, member]) => `${JSON.stringify(name)}: ${write(member)}`);
    return `{${members.join(", ")}}`;
  }
  return JSON.stringify(value);
}
