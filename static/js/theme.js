/** Runs before anything is drawn: that scripts run, and the colours that the reader chose. */
(() => {
  "use strict";
  document.documentElement.classList.add("js");
  try {
    const chosen = localStorage.getItem("sitegen:theme");
    if (chosen) document.documentElement.dataset.theme = chosen;
  } catch {
    // nothing is kept: the reader's system decides
  }
})();
