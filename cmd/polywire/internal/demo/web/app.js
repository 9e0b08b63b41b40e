// Puts the page together.
import { Client } from "/sdk/polywire.js";
import { Chat } from "./chat.js";
import { cleanName, randomName } from "./text.js";
import { View } from "./view.js";

const NAME_KEY = "polywire.name";

const client = new Client("/polywire");
const chat = new Chat(client, cleanName(recall() ?? "") || randomName(), {
  changed: () => view.changed(),
  visible: () => !document.hidden,
  notice: (text) => view.notice(text),
  announce: (text) => view.announce(text),
});
const view = new View(chat, remember);
remember(chat.name);

const openHash = () => chat.open(fromHash());
openHash();
chat.start();
setInterval(() => view.tick(), 250);
addEventListener("hashchange", openHash);
document.addEventListener("visibilitychange", () => document.hidden || chat.read());

function fromHash() {
  const name = location.hash.slice(1);
  try {
    return decodeURIComponent(name);
  } catch {
    return name; // typed by hand
  }
}

// A browser may refuse storage; then a name lasts as long as the page.
function recall() {
  try {
    return localStorage.getItem(NAME_KEY);
  } catch {
    return null;
  }
}

function remember(name) {
  try {
    localStorage.setItem(NAME_KEY, name);
  } catch {
    // as above
  }
}
