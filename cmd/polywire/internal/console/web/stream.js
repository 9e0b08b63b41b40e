// Server-sent events that come back by themselves, and say when they are not live.

const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 15_000;
const SILENCE_MS = 12_000; // something comes each second

export class Stream {
  status = "connecting"; // or "live", "waiting", "closed"
  retryAt = 0;
  #url;
  #events;
  #changed;
  #make;
  #source = null;
  #params = {};
  #failures = 0;
  #timer;
  #silence;

  /**
   * @param events functions by event name, which get the parsed data
   * @param changed is told of each change of the status
   * @param make opens an EventSource
   */
  constructor(url, events, changed, make = (address) => new EventSource(address)) {
    this.#url = url;
    this.#events = events;
    this.#changed = changed;
    this.#make = make;
  }

  /** Opens the stream with parameters; one that is open with others is replaced. */
  open(params = this.#params) {
    this.#params = params;
    clearTimeout(this.#timer);
    this.#drop();
    const query = new URLSearchParams(Object.entries(params).filter(([, value]) => value)).toString();
    const source = this.#make(`${this.#url}${query ? `?${query}` : ""}`);
    this.#source = source;
    this.#listen();
    this.#become(this.status === "live" ? "live" : "connecting");
    source.onopen = () => source === this.#source && this.#alive();
    source.onerror = () => source === this.#source && this.#failed();
    for (const [name, handle] of Object.entries(this.#events)) {
      source.addEventListener(name, (event) => {
        if (source !== this.#source) return;
        this.#alive();
        handle(JSON.parse(event.data));
      });
    }
  }

  close() {
    clearTimeout(this.#timer);
    this.#drop();
    this.#become("closed");
  }

  #drop() {
    clearTimeout(this.#silence);
    this.#source?.close();
    this.#source = null;
  }

  #alive() {
    this.#failures = 0;
    this.#listen();
    this.#become("live");
  }

  #listen() {
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => this.#failed(), SILENCE_MS);
  }

  #failed() {
    this.#drop();
    const most = Math.min(FIRST_WAIT_MS * 2 ** this.#failures++, LONGEST_WAIT_MS);
    const wait = most * (0.5 + Math.random() / 2); // pages do not come back together
    this.retryAt = Date.now() + wait;
    this.#timer = setTimeout(() => this.open(), wait);
    this.#become("waiting");
  }

  #become(status) {
    const before = this.status;
    this.status = status;
    if (before !== status || status === "waiting") this.#changed(status);
  }
}
