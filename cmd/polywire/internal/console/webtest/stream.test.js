import assert from "node:assert/strict";
import { test } from "node:test";
import { Poll } from "../web/poll.js";
import { Stream } from "../web/stream.js";
import { KEPT, TailLog } from "../web/taillog.js";

const settle = () => new Promise((resolve) => setImmediate(resolve));

class FakeSource {
  closed = false;
  listeners = {};
  constructor(url) {
    this.url = url;
  }
  addEventListener(name, fn) {
    this.listeners[name] = fn;
  }
  close() {
    this.closed = true;
  }
  say(name, data) {
    this.listeners[name]({ data: JSON.stringify(data) });
  }
}

function world() {
  const w = { sources: [], figures: [], statuses: [] };
  w.stream = new Stream("api/events", { figures: (e) => w.figures.push(e) }, (status) => w.statuses.push(status), (url) => (w.sources.push(new FakeSource(url)), w.sources.at(-1)));
  return w;
}

test("a stream is live when it opens, and gives what comes", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout", "Date"] });
  const w = world();
  w.stream.open({ tail: "1", kind: "a&b", room: "" });
  assert.equal(w.sources[0].url, "api/events?tail=1&kind=a%26b");
  w.sources[0].onopen();
  w.sources[0].say("figures", { n: 1 });
  assert.deepEqual([w.figures, w.statuses, w.stream.status], [[{ n: 1 }], ["live"], "live"]);
  w.stream.close();
  assert.ok(w.sources[0].closed);
  assert.equal(w.stream.status, "closed");
});

test("a stream that breaks comes back, later each time, and says so", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout", "Date"] });
  const w = world();
  w.stream.open({ tail: "1" });
  const waits = [];
  for (let i = 0; i < 8; i++) {
    w.sources.at(-1).onerror();
    assert.equal(w.stream.status, "waiting");
    waits.push(w.stream.retryAt - Date.now());
    t.mock.timers.tick(15_001);
    assert.equal(w.sources.length, i + 2);
  }
  assert.ok(waits[0] >= 500 && waits[0] <= 1000 && waits[7] >= 7500 && waits[7] <= 15_000, `${waits}`);
  assert.ok(w.sources.slice(0, -1).every((s) => s.closed));
  assert.equal(w.sources.at(-1).url, "api/events?tail=1");
  w.sources.at(-1).onopen();
  assert.equal(w.statuses.at(-1), "live");
  w.sources.at(-1).onerror();
  assert.ok(w.stream.retryAt - Date.now() <= 1000, "after it was live it begins anew");
});

test("a stream that falls silent is not live", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout", "Date"] });
  const w = world();
  w.stream.open();
  w.sources[0].onopen();
  t.mock.timers.tick(11_000);
  w.sources[0].say("figures", {});
  t.mock.timers.tick(11_000);
  assert.equal(w.stream.status, "live");
  t.mock.timers.tick(1_000);
  assert.equal(w.stream.status, "waiting");
});

test("one stream at a time: what an older one says is not heard", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout", "Date"] });
  const w = world();
  w.stream.open();
  w.sources[0].onopen();
  w.stream.open({ tail: "1" });
  assert.ok(w.sources[0].closed);
  w.sources[0].say("figures", {});
  w.sources[0].onerror();
  assert.deepEqual([w.figures, w.stream.status], [[], "live"]);
});

test("a poll asks again after the answer, later after failures, and not when stopped", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  let asked = 0;
  let fail = false;
  const got = [];
  const poll = new Poll({
    ask: async () => {
      asked++;
      if (fail) throw new Error("no");
      return asked;
    },
    every: 1000,
    shown: (n) => got.push(n),
    failed: (error) => got.push(error.message),
  });
  await poll.now();
  t.mock.timers.tick(1000);
  await settle();
  fail = true;
  t.mock.timers.tick(1000);
  await settle();
  t.mock.timers.tick(1999);
  await settle();
  assert.deepEqual(got, [1, 2, "no"]);
  t.mock.timers.tick(1);
  await settle();
  assert.equal(asked, 4);
  poll.stop();
  t.mock.timers.tick(100_000);
  await poll.now();
  assert.equal(asked, 4);
});

test("a poll gives up a question when there is a newer one", async () => {
  const answers = [];
  const got = [];
  const poll = new Poll({ ask: (signal) => new Promise((resolve) => answers.push({ resolve, signal })), every: 0, shown: (a) => got.push(a), failed: assert.fail });
  const [first, second] = [poll.now(), poll.now()];
  assert.ok(answers[0].signal.aborted && !answers[1].signal.aborted);
  answers[1].resolve("new");
  answers[0].resolve("old");
  await Promise.all([first, second]);
  assert.deepEqual(got, ["new"]);
});

const entries = (n, from = 0) => Array.from({ length: n }, (_, i) => ({ seq: from + i }));

test("a tail keeps the last messages, and stands still while paused", () => {
  const log = new TailLog();
  log.add({ entries: entries(KEPT + 10), dropped: 2 });
  assert.deepEqual([log.entries.length, log.entries[0].seq, log.seen, log.dropped], [KEPT, 10, KEPT + 10, 2]);
  log.pause();
  log.add({ entries: entries(KEPT + 7), dropped: 0 });
  assert.deepEqual([log.entries.at(-1).seq, log.waiting.length, log.dropped], [KEPT + 9, KEPT, 9]);
  log.resume();
  assert.deepEqual([log.entries.length, log.entries[0].seq, log.waiting.length], [KEPT, 7, 0]);
  assert.equal(new Set(log.entries.map((e) => e.key)).size, KEPT, "keys are their own, though numbers came twice");
  log.clear();
  assert.deepEqual([log.entries, log.seen, log.dropped], [[], 0, 0]);
});

