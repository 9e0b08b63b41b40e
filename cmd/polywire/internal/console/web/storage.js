// What the page keeps in the browser. One may refuse storage; then it lasts as long as the page.

export function recall(key) {
  try {
    return localStorage.getItem(`polywire.console.${key}`);
  } catch {
    return null;
  }
}

export function keep(key, value) {
  try {
    if (value === null) localStorage.removeItem(`polywire.console.${key}`);
    else localStorage.setItem(`polywire.console.${key}`, value);
  } catch {
    // as above
  }
}
