// The little of a framework that this page needs. Texts only ever become text nodes.

/** An element with attributes ("class", "aria-label", ...) and children, which are nodes or texts. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** Sets a text only if it is another one: screen readers and selections stay undisturbed. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * Makes the children of a list those of the items, in their order, keeping
 * the elements of items that were there before.
 */
export function sync(parent, items, { key, create, update }) {
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
