// Names and texts: what may be said, and how it is shown.

export const LOBBY = "lobby";
export const MAX_NAME = 40; // of people and rooms, as on the server
export const MAX_TEXT = 2000;
export const HUES = 12;

const ADJECTIVES = "Amber Brave Calm Clever Cosmic Gentle Happy Lucky Mellow Nimble Quiet Rapid Sunny Swift Velvet Witty".split(" ");
const ANIMALS = "Badger Crane Dolphin Falcon Fox Gecko Heron Koala Lynx Marten Otter Panda Puffin Raven Tapir Wombat".split(" ");

/** A name for somebody who has not chosen one. */
export function randomName(random = Math.random) {
  const pick = (list) => list[Math.floor(random() * list.length)];
  return `${pick(ADJECTIVES)} ${pick(ANIMALS)}`;
}

/** One line without control characters or doubled spaces, "" if nothing is left. */
export function cleanName(text) {
  return clip(text.replace(/[\p{C}\s]+/gu, " ").trim(), MAX_NAME).trim();
}

/** A room's name as people type it, made into one: "# My Room" becomes "my-room". */
export function roomName(text) {
  const words = text.toLowerCase().match(/[\p{L}\p{N}_]+/gu) ?? [];
  return clip(words.join("-"), MAX_NAME).replace(/-$/, "");
}

/** What can be sent of a typed text, "" if that is nothing. */
export function cleanText(text) {
  return clip(text.replace(/\r\n?/g, "\n").trim(), MAX_TEXT);
}

/** One or two letters for an avatar. */
export function initials(name) {
  const words = name.match(/[\p{L}\p{N}]+/gu) ?? ["?"];
  const ends = words.length > 1 ? [words[0], words.at(-1)] : [words[0]];
  return ends.map((w) => [...w][0].toUpperCase()).join("");
}

/** A colour for a name, from 0 to HUES-1: the same one everywhere. */
export function hueOf(name) {
  let hash = 2166136261; // FNV-1a
  for (const c of name) hash = Math.imul(hash ^ c.codePointAt(0), 16777619);
  return (hash >>> 8) % HUES;
}

/** "1 person", "3 people". */
export function count(n, one, many) {
  return `${n} ${n === 1 ? one : many}`;
}

// Counts code points, so that nothing is cut in half.
function clip(text, length) {
  const points = [...text];
  return points.length <= length ? text : points.slice(0, length).join("");
}
