// Before the first paint: the colours that somebody chose. A classic script, since modules wait.
(() => {
  try {
    const theme = localStorage.getItem("polywire.console.theme");
    if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
  } catch {
    // no storage: as the system has it
  }
})();
