// The little of a framework that this page needs. Texts only ever become text nodes.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes ("class", "aria-label", ...) and children, which are nodes or texts; null is none. */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Sets a text only if it is another one: screen readers and selections stay undisturbed. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Sets an attribute, or takes it away with null. */
export function setAttribute(node, name, value) {
  if (value === null || value === false) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

/**
 * Makes the children of a list those of the items, in their order, keeping
 * the elements (and so the focus) of items that were there before.
 */
export function sync(parent, items, { key, create, update = () => {} }) {
  const wanted = new Set(items.map((item) => key(item)));
  const have = new Map();
  for (const node of [...parent.children]) {
    if (wanted.has(node.dataset.key)) have.set(node.dataset.key, node);
    else node.remove();
  }
  let at = parent.firstElementChild;
  for (const item of items) {
    let node = have.get(key(item));
    if (!node) {
      node = create(item);
      node.dataset.key = key(item);
    }
    update(node, item);
    if (node === at) at = at.nextElementSibling;
    else parent.insertBefore(node, at);
  }
}

const PATHS = {
  overview: "M3 16V9M8 16V4M13 16v-5M18 16V7",
  connections: "M4 10h3m6 0h3M10 7a3 3 0 100 6 3 3 0 000-6M3 6v8M17 6v8",
  rooms: "M2.5 16c.4-2.800 2.300-4.300 5-4.300s4.600 1.500 5 4.300M7.500 9.200a2.900 2.900 0 100-5.800 2.900 2.900 0 000 5.800M13 3.700a2.900 2.900 0 010 5.300M14.500 11.900c1.800.5 2.800 1.900 3 4.100",
  tail: "M4 5l4 4-4 4M10.500 14H16",
  nodes: "M10 3.500v4M10 7.500L4.500 12.500M10 7.500l5.500 5M3 12.500h3v3H3zM8.500 2.500h3v3h-3zM14 12.500h3v3h-3z",
  queues: "M3.500 5.500h13M3.500 10h13M3.500 14.500h8M14 13l2.500 1.500L14 16",
  webhooks: "M8 12l4-4M7 8.500L5 10.500a3 3 0 004.300 4.300l2-2M13 11.500l2-2a3 3 0 00-4.300-4.300l-2 2",
  settings: "M3 6h8M15 6h2M13 4v4M3 14h2M9 14h8M7 12v4",
  close: "M5 5l10 10M15 5L5 15",
  menu: "M3.500 6h13M3.500 10h13M3.500 14h13",
  keyboard: "M2.500 5.500h15v9h-15zM5.500 8.500h.01M8.500 8.500h.01M11.500 8.500h.01M14.500 8.500h.01M7 11.500h6",
  sun: "M10 6.500a3.500 3.500 0 100 7 3.500 3.500 0 000-7M10 2v1.500M10 16.500V18M2 10h1.500M16.500 10H18M4.300 4.300l1.100 1.100M14.600 14.600l1.100 1.100M4.300 15.700l1.100-1.100M14.600 5.400l1.100-1.100",
  moon: "M16 11.500A6.500 6.500 0 018.500 4a6.500 6.500 0 107.500 7.500z",
  auto: "M10 3a7 7 0 100 14 7 7 0 000-14M10 3v14M10 6h4M10 10h6.500M10 14h4",
  out: "M8 4H4.500v12H8M12 6.500L15.500 10 12 13.500M15 10H8",
  back: "M12 4.500L6.500 10l5.500 5.500",
  search: "M9 4a5 5 0 100 10A5 5 0 009 4M12.700 12.700L16.500 16.500",
  pause: "M7 5v10M13 5v10",
  play: "M6.500 4.500v11l8.500-5.500z",
  in: "M10 4v11M5.500 10.500L10 15l4.500-4.500",
  up: "M10 16V5M5.500 9.500L10 5l4.500 4.500",
};

/** A drawn sign, for eyes only. */
export function icon(name) {
  return svg("svg", { viewBox: "0 0 20 20", class: "sign", "aria-hidden": "true", focusable: "false" }, svg("path", { d: PATHS[name] }));
}
