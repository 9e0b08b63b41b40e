// @ts-check
import { PolywireError } from "./error.js";

/** setTimeout fires at once for anything longer. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** @typedef {{resolve: (value: any) => void, reject: (reason: unknown) => void}} Waiter */

/** The calls that wait for their answers. */
export class Calls {
  /** @type {Map<number, Waiter>} */
  #open = new Map();

  /** How many are waiting. */
  get size() {
    return this.#open.size;
  }

  /**
   * @param {number} id
   * @param {string} what for the error's text
   * @param {number} timeout milliseconds; 0 or Infinity: none
   * @param {AbortSignal} [signal]
   * @returns {Promise<any>} what resolve gives; rejects with a PolywireError or the signal's reason
   */
  wait(id, what, timeout, signal) {
    return new Promise((resolve, reject) => {
      const timer =
        timeout > 0 && timeout <= MAX_TIMER_MS
          ? setTimeout(() => {
              this.reject(id, new PolywireError("deadline_exceeded", `${what}: no answer within ${timeout} ms`));
            }, timeout)
          : undefined;
      const abort = () => void this.reject(id, signal?.reason);
      signal?.addEventListener("abort", abort);
      const done = () => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
      };
      this.#open.set(id, {
        resolve: (value) => (done(), resolve(value)),
        reject: (reason) => (done(), reject(reason)),
      });
    });
  }

  /**
   * @param {number} id
   * @param {unknown} value
   * @returns {boolean} whether somebody was waiting
   */
  resolve(id, value) {
    const waiter = this.#take(id);
    waiter?.resolve(value);
    return waiter !== undefined;
  }

  /**
   * @param {number} id
   * @param {unknown} reason
   * @returns {boolean} whether somebody was waiting
   */
  reject(id, reason) {
    const waiter = this.#take(id);
    waiter?.reject(reason);
    return waiter !== undefined;
  }

  /** @param {unknown} reason */
  rejectAll(reason) {
    for (const id of [...this.#open.keys()]) this.reject(id, reason);
  }

  /** @param {number} id */
  #take(id) {
    const waiter = this.#open.get(id);
    this.#open.delete(id);
    return waiter;
  }
}
