import assert from "node:assert/strict";
import { test } from "node:test";
import { Latency } from "../web/latency.js";
import { arrange, Room } from "../web/room.js";
import { cleanName, cleanText, count, hueOf, HUES, initials, randomName, roomName } from "../web/text.js";
import { ada, bot, said } from "./fake.js";

test("room names", () => {
  const cases = [
    ["lobby", "lobby"],
    ["#Lobby", "lobby"],
    ["  My  Room! ", "my-room"],
    ["Zażółć gęślą", "zażółć-gęślą"],
    ["a/b\\c<d>", "a-b-c-d"],
    ["日本", "日本"],
    ["--", ""],
    ["", ""],
    ["x".repeat(50), "x".repeat(40)],
    [`${"x".repeat(39)} y`, "x".repeat(39)],
  ];
  for (const [typed, want] of cases) assert.equal(roomName(typed), want, typed);
});

test("names and texts are cleaned and cut at whole characters", () => {
  assert.equal(cleanName("  Ann \u0000\n Lee\u202e "), "Ann Lee");
  assert.equal(cleanName(" \t"), "");
  assert.equal(cleanName("😀".repeat(50)), "😀".repeat(40));
  assert.equal(cleanText(" a\r\nb\rc \n"), "a\nb\nc");
  assert.equal(cleanText("x".repeat(3000)).length, 2000);
});

test("initials", () => {
  const cases = [["Ada", "A"], ["ada lovelace", "AL"], ["Jean Luc Picard", "JP"], ["żółw", "Ż"], ["😀", "?"], ["", "?"]];
  for (const [name, want] of cases) assert.equal(initials(name), want, name);
});

test("hues are few, stable and spread", () => {
  const hues = Array.from({ length: 200 }, (_, i) => hueOf(`name ${i}`));
  assert.ok(hues.every((h) => Number.isInteger(h) && h >= 0 && h < HUES));
  assert.equal(new Set(hues).size, HUES);
  assert.equal(hueOf("Ada"), hueOf("Ada"));
});

test("a made-up name is a good one", () => {
  for (const r of [0, 0.5, 0.999]) assert.match(randomName(() => r), /^[A-Z][a-z]+ [A-Z][a-z]+$/);
  assert.deepEqual([count(1, "person", "people"), count(0, "person", "people")], ["1 person", "0 people"]);
});

test("latency as a text", () => {
  const latency = new Latency();
  assert.deepEqual([latency.text, latency.grade], ["–", ""]);
  for (const [ms, text, grade] of [[0.84, "0.8 ms", "good"], [23.6, "24 ms", "good"], [150, "150 ms", "fair"], [1234, "1.2 s", "poor"], [null, "–", ""]]) {
    latency.add(ms);
    assert.deepEqual([latency.text, latency.grade], [text, grade]);
  }
});

test("latency as a picture: newest at the right, gaps, spikes cut off", () => {
  const latency = new Latency();
  assert.deepEqual(latency.paths(96, 24), { stroke: "", area: "" });
  for (const ms of [2, null, 2, 500]) latency.add(ms);
  const { stroke, area } = latency.paths(31, 24);
  assert.equal(stroke, "M28 14.1h.01M30 14.1L31 1.5");
  assert.equal(area.match(/Z/g).length, 2);
  for (let i = 0; i < 100; i++) latency.add(1);
  assert.equal(latency.samples.length, 32);
  assert.match(latency.paths(31, 24).stroke, /^M0 /);
});

test("lines are grouped by who speaks, and by day", () => {
  const room = new Room("r");
  room.enter({
    you: "me",
    members: [],
    history: [said("1", ada, "a"), said("2", ada, "b", 1), said("3", bot, "c", 2), said("4", ada, "d", 3), said("5", ada, "e", 30), said("6", ada, "f", 60 * 30)],
  });
  room.presence("joined", { id: "z", name: "Zoe", bot: false }, new Date(Date.UTC(2026, 0, 2, 18, 1)));
  const rows = arrange(room.lines).map((r) => (r.day ? "day" : `${r.line.note ?? r.line.text}${r.first ? "!" : ""}`));
  assert.deepEqual(rows, ["day", "a!", "b", "c!", "d!", "e!", "day", "f!", "Zoe joined!"]);
});

test("a room keeps the last lines only", () => {
  const room = new Room("r");
  room.enter({ you: "me", members: [], history: [] });
  for (let i = 0; i < 600; i++) room.said(said(String(i), ada, String(i)));
  assert.equal(room.lines.length, 500);
  assert.equal(room.lines[0].text, "100");
});
