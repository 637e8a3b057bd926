// Builds elements and brings what is shown up to date in place, so that focus, selection and what is folded
// out stay. Values only ever become text or attributes that this page chose: nothing is parsed as markup.

const SVG = "http://www.w3.org/2000/svg";

/** The element of this id, which index.html has. */
export const byId = (id) => document.getElementById(id);

/** An element with attributes (null and false: none; true: an empty one) and children (nodes or texts). */
export function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same for SVG. */
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** A symbol of the sprite in index.html; what it means always stands beside it as text. */
export function icon(name) {
  return svg(
    "svg",
    { class: `icon icon-${name}`, "aria-hidden": "true", focusable: "false" },
    svg("use", { href: `#icon-${name}` }),
  );
}

/**
 * Makes `children` the content of `parent`. What is there already and of the same kind is changed where it
 * differs; elements with `data-key` are found again by it.
 */
export function show(parent, ...children) {
  const wanted = children
    .flat()
    .filter((child) => child !== null && child !== undefined)
    .map((child) => (child instanceof Node ? child : document.createTextNode(child)));
  const keys = new Set(wanted.map(keyOf).filter(Boolean));
  const known = new Map();
  for (const child of [...parent.childNodes]) {
    const key = keyOf(child);
    if (key && !keys.has(key)) {
      child.remove();
    } else if (key) {
      known.set(key, child);
    }
  }
  let place = parent.firstChild;
  for (const next of wanted) {
    const key = keyOf(next);
    const current = key ? known.get(key) : place;
    if (!current || !isAlike(current, next)) {
      parent.insertBefore(next, place);
      continue;
    }
    if (current === place) {
      place = place.nextSibling;
    } else {
      parent.insertBefore(current, place);
    }
    update(current, next);
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

const keyOf = (node) => node.dataset?.key;

const isAlike = (current, next) => current.nodeName === next.nodeName && keyOf(current) === keyOf(next);

function update(current, next) {
  if (current.nodeType === Node.TEXT_NODE) {
    if (current.data !== next.data) {
      current.data = next.data;
    }
    return;
  }
  for (const { name } of [...current.attributes]) {
    // What a person folded out stays so.
    if (!next.hasAttribute(name) && name !== "open") {
      current.removeAttribute(name);
    }
  }
  for (const { name, value } of next.attributes) {
    if (current.getAttribute(name) !== value) {
      current.setAttribute(name, value);
    }
  }
  if (current instanceof HTMLInputElement) {
    current.checked = next.checked;
  }
  show(current, ...next.childNodes);
}
