/** Runs before anything is drawn: that scripts run, and the colours that the reader chose. */
(() => {
  "use strict";
  const { classList } = document.documentElement;
  classList.add("js");
  const withoutScripts = (/** @type {Event} */ event) => {
    if (event.target instanceof HTMLScriptElement && event.target.src.includes("/static/")) classList.remove("js");
  };
  window.addEventListener("error", withoutScripts, true); // the others could not be read: what they would hide is shown
  try {
    const chosen = localStorage.getItem("sitegen:theme");
    if (chosen) document.documentElement.dataset.theme = chosen;
  } catch {
    // nothing is kept: the reader's system decides
  }
})();
