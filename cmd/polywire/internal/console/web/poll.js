// Asks again and again, one question at a time, and not while nobody looks.

const LONGEST_MS = 30_000;

export class Poll {
  #ask;
  #every;
  #shown;
  #failed;
  #timer;
  #abort = null;
  #failures = 0;
  #over = false;

  /**
   * @param ask (signal) => Promise of an answer @param every ms between questions, 0: once
   * @param shown gets answers @param failed gets errors
   */
  constructor({ ask, every, shown, failed }) {
    this.#ask = ask;
    this.#every = every;
    this.#shown = shown;
    this.#failed = failed;
  }

  /** Asks now; a question that is under way is given up, its answer not shown. */
  async now() {
    if (this.#over) return;
    clearTimeout(this.#timer);
    this.#abort?.abort();
    const abort = new AbortController();
    this.#abort = abort;
    try {
      const answer = await this.#ask(abort.signal);
      if (abort.signal.aborted) return;
      this.#failures = 0;
      this.#shown(answer);
    } catch (error) {
      if (abort.signal.aborted) return;
      this.#failures++;
      this.#failed(error);
    }
    this.#later();
  }

  stop() {
    this.#over = true;
    clearTimeout(this.#timer);
    this.#abort?.abort();
  }

  #later() {
    if (!this.#every || this.#over) return;
    const wait = this.#failures ? Math.min(this.#every * 2 ** this.#failures, LONGEST_MS) : this.#every;
    this.#timer = setTimeout(() => (globalThis.document?.hidden ? this.#later() : this.now()), wait);
  }
}
