// Places in the page: "#/connections/ID?q=text".

/** What a hash says: the parts of the path, and the parameters. */
export function parse(hash) {
  const [path, query = ""] = split(hash.replace(/^#?\/?/, ""));
  const parts = path.split("/").filter((part) => part !== "").map(decode);
  return { view: parts[0] ?? "overview", id: parts.length > 1 ? parts.slice(1).join("/") : "", params: new URLSearchParams(query) };
}

/** The hash of a place; parameters that are empty are left out. */
export function href(view, id = "", params = {}) {
  const query = new URLSearchParams(Object.entries(params).filter(([, value]) => value)).toString();
  return `#/${view}${id ? `/${encodeURIComponent(id.toWellFormed())}` : ""}${query ? `?${query}` : ""}`;
}

function split(text) {
  const at = text.indexOf("?");
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // typed by hand
  }
}

/** Replaces the parameters of the place where the page is, without a step in the history. */
export function remember(params) {
  const { view, id } = parse(location.hash);
  history.replaceState(null, "", href(view, id, params));
}
