/** Runs before anything is drawn: marks the page as one with scripts, and sets the colours that the reader chose. */
(() => {
  "use strict";
  const { classList } = document.documentElement;
  classList.add("js");
  const withoutScripts = (/** @type {Event} */ event) => {
    if (event.target instanceof HTMLScriptElement && event.target.src.includes("/static/")) classList.remove("js");
  };
  // If the other scripts cannot be read, what they would replace must be shown
  window.addEventListener("error", withoutScripts, true);
  try {
    const chosen = localStorage.getItem("sitegen:theme");
    if (chosen) document.documentElement.dataset.theme = chosen;
  } catch {
    // Without storage the reader's system decides
  }
})();
