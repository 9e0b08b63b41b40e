// @ts-check

/**
 * @template {Record<string, any[]>} Events
 */
export class Emitter {
  /** @type {Map<keyof Events, Set<(...args: any[]) => unknown>>} */
  #listeners = new Map();
  #fault;

  /** @param {(thrown: unknown, event: keyof Events) => void} fault gets what a listener throws, or rejects with */
  constructor(fault) {
    this.#fault = fault;
  }

  /**
   * @template {keyof Events} K
   * @param {K} event
   * @param {(...args: Events[K]) => unknown} fn
   * @returns {() => void} takes the listener away
   */
  on(event, fn) {
    if (typeof fn !== "function") throw new TypeError("polywire: a listener must be a function");
    let set = this.#listeners.get(event);
    if (!set) this.#listeners.set(event, (set = new Set()));
    set.add(fn);
    return () => void this.#listeners.get(event)?.delete(fn);
  }

  /**
   * Calls the listeners. One that throws stops nobody.
   * @template {keyof Events} K
   * @param {K} event
   * @param {Events[K]} args
   * @returns {boolean} whether somebody listens
   */
  emit(event, ...args) {
    const set = this.#listeners.get(event);
    if (!set?.size) return false;
    for (const fn of [...set]) void this.#call(event, fn, args);
    return true;
  }

  /**
   * @param {keyof Events} event
   * @param {(...args: any[]) => unknown} fn
   * @param {any[]} args
   */
  async #call(event, fn, args) {
    try {
      await fn(...args);
    } catch (thrown) {
      this.#fault(thrown, event);
    }
  }
}
