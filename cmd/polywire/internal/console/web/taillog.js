// The messages that a tail shows: the last ones, or those until it was paused.

export const KEPT = 500;

export class TailLog {
  entries = []; // oldest first
  waiting = []; // came while paused
  paused = false;
  seen = 0;
  dropped = 0; // not sent by the server, or forgotten while paused
  #next = 0;

  add({ entries, dropped }) {
    this.seen += entries.length;
    this.dropped += dropped;
    const into = this.paused ? this.waiting : this.entries;
    // The server's numbers begin again when it restarts: these do not.
    for (const entry of entries) into.push({ ...entry, key: String(this.#next++) });
    const over = into.length - KEPT;
    if (over <= 0) return;
    into.splice(0, over);
    if (this.paused) this.dropped += over;
  }

  pause() {
    this.paused = true;
  }

  resume() {
    this.paused = false;
    this.entries = [...this.entries, ...this.waiting].slice(-KEPT);
    this.waiting = [];
  }

  clear() {
    this.entries = [];
    this.waiting = [];
    this.seen = 0;
    this.dropped = 0;
  }
}
