import assert from "node:assert/strict";
import { test } from "node:test";
import { API, Failure } from "../web/api.js";
import { Keys } from "../web/keys.js";
import { health } from "../web/views/webhooks.js";

function server(status, body, headers = {}) {
  const asked = [];
  let over = 0;
  const api = new API("api/", () => over++, async (url, init) => {
    asked.push({ url, ...init });
    return new Response(body, { status, headers });
  });
  return { api, asked, over: () => over };
}

test("questions to the server", async () => {
  const { api, asked } = server(200, '{"a":1}');
  assert.deepEqual(await api.get("rooms", { q: "a&b=c", none: "", not: undefined, after: null, limit: 5 }), { a: 1 });
  assert.equal(asked[0].url, "api/rooms?q=a%26b%3Dc&limit=5");
  assert.equal(asked[0].body, undefined);
  await api.post("login", { token: "x" });
  assert.deepEqual([asked[1].method, asked[1].body, asked[1].headers["Content-Type"]], ["POST", '{"token":"x"}', "application/json"]);
  assert.equal(await server(204, null).api.post("logout"), null);
});

test("answers that are none", async () => {
  const cases = [
    [400, '{"error":{"code":"bad_request","message":"limit: want 1 to 500"}}', "limit: want 1 to 500"],
    [403, "cross-origin request refused\n", "cross-origin request refused"],
    [500, "", "The server answered 500."],
    [200, "<html>", "The server answered something that is not JSON."],
  ];
  for (const [status, body, want] of cases) {
    await assert.rejects(server(status, body).api.get("x"), (error) => error instanceof Failure && error.status === status && error.message === want);
  }
  await assert.rejects(server(429, "{}", { "Retry-After": "7" }).api.get("x"), { after: 7 });
  const away = new API("", () => {}, async () => {
    throw new TypeError("fetch failed");
  });
  await assert.rejects(away.get("x"), { status: 0, message: "The server cannot be reached." });
});

test("who is not logged in is sent to do so, but for a wrong token", async () => {
  const { api, over } = server(401, '{"error":{"message":"log in"}}');
  await assert.rejects(api.get("overview"));
  assert.equal(over(), 1);
  await assert.rejects(api.post("login", {}));
  assert.equal(over(), 1);
});

test("an aborted question is no failure of the server", async () => {
  const abort = new AbortController();
  const api = new API("", () => {}, (_, { signal }) => new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason))));
  const asked = api.get("x", {}, abort.signal);
  abort.abort();
  await assert.rejects(asked, { name: "AbortError" });
});

test("shortcuts", () => {
  const did = [];
  const keys = new Keys([{ keys: "g c", text: "", act: () => did.push("gc") }, { keys: "c", text: "", act: () => did.push("c") }, { keys: "?", text: "", act: () => did.push("?") }]);
  let prevented = 0;
  const press = (key, more = {}, at = 0) => keys.press({ key, target: { closest: () => null }, preventDefault: () => prevented++, ...more }, at);
  press("g", {}, 0);
  press("c", {}, 100);
  press("c", {}, 200);
  press("g", {}, 1000);
  press("c", {}, 9000); // too late
  press("g", {}, 10_000);
  press("?", {}, 10_100);
  press("c", { ctrlKey: true });
  press("c", { target: { closest: () => ({}) } }); // somebody types
  press("x");
  assert.deepEqual(did, ["gc", "c", "c", "?"]);
  assert.equal(prevented, 4);
  keys.on = false;
  assert.equal(press("c"), false);
});

test("health of endpoints", () => {
  const at = "2026-01-01T00:00:00Z";
  for (const [endpoint, want] of [
    [{}, "not used yet"],
    [{ last_success: at, breaker: "closed" }, "healthy"],
    [{ last_success: at, failing_since: at }, "failing"],
    [{ failing_since: at, breaker: "open" }, "resting"],
    [{ breaker: "half-open" }, "trying again"],
    [{ disabled: true, breaker: "open" }, "disabled"],
  ]) assert.equal(health(endpoint)[0], want);
});
