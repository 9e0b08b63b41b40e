// Questions to the server.

/** An answer that is none: status is that of HTTP, 0 when nobody answered. */
export class Failure extends Error {
  constructor(status, message, after = 0) {
    super(message);
    this.status = status;
    this.after = after; // seconds after which to try again, if the server says so
  }
}

const TIMEOUT_MS = 30_000;

export class API {
  #base;
  #fetch;
  #unauthorized;

  /** @param unauthorized is called when the server wants a token @param fetch stands in for the browser's */
  constructor(base, unauthorized, fetch = (...args) => globalThis.fetch(...args)) {
    this.#base = base;
    this.#unauthorized = unauthorized;
    this.#fetch = fetch;
  }

  get(path, params, signal) {
    return this.#ask("GET", path, { params, signal });
  }

  post(path, body = {}) {
    return this.#ask("POST", path, { body });
  }

  /** Takes JSON back; null where there is none. Fails with a Failure; an abort is passed on as it is. */
  async #ask(method, path, { params = {}, body, signal }) {
    const query = new URLSearchParams(Object.entries(params).filter(([, value]) => value !== "" && value !== undefined && value !== null)).toString();
    const limit = AbortSignal.timeout(TIMEOUT_MS);
    let response, text;
    try {
      response = await this.#fetch(`${this.#base}${path}${query ? `?${query}` : ""}`, {
        method,
        headers: body === undefined ? {} : { "Content-Type": "application/json" },
        body: body === undefined ? undefined : JSON.stringify(body),
        signal: signal ? AbortSignal.any([signal, limit]) : limit,
        credentials: "same-origin",
      });
      text = await response.text();
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Failure(0, limit.aborted ? "The server does not answer." : "The server cannot be reached.");
    }
    if (response.status === 401 && path !== "login") this.#unauthorized();
    if (!response.ok) throw new Failure(response.status, reason(text) || `The server answered ${response.status}.`, Number(response.headers.get("Retry-After")) || 0);
    if (!text) return null;
    try {
      return JSON.parse(text);
    } catch {
      throw new Failure(response.status, "The server answered something that is not JSON.");
    }
  }
}

// Errors are JSON with a text in them, or a text.
function reason(text) {
  try {
    const { error, message, detail, title } = JSON.parse(text);
    return error?.message ?? error ?? message ?? detail ?? title ?? "";
  } catch {
    return text.trim().slice(0, 300);
  }
}
