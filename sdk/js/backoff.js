// @ts-check

/**
 * Delays between attempts to connect: full jitter, that is, anything from zero
 * to a ceiling that doubles with each attempt. A crowd that lost its server
 * comes back spread out.
 */
export class Backoff {
  #min;
  #max;
  #random;
  #attempt = 0;

  /** @param {{min: number, max: number, random?: () => number}} options milliseconds */
  constructor({ min, max, random = Math.random }) {
    if (!(min > 0 && max >= min)) throw new RangeError("backoff: want 0 < min <= max");
    this.#min = min;
    this.#max = max;
    this.#random = random;
  }

  /** How many delays were taken since the last reset. */
  get attempt() {
    return this.#attempt;
  }

  /** @returns {number} milliseconds */
  next() {
    const ceiling = Math.min(this.#max, this.#min * 2 ** this.#attempt);
    this.#attempt++;
    return this.#random() * ceiling;
  }

  reset() {
    this.#attempt = 0;
  }
}
