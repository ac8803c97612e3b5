/** Peaks below each other, as a concordance has them: the eye runs down one column. */
(() => {
  "use strict";

  const { element } = window.sitegen;
  const KEY = "sitegen:align";
  const COLUMN = 0.45; // of a line's width, where peaks stand

  const columns = document.querySelector("[data-feature]");
  const scale = document.querySelector(".scale");
  const wide = window.matchMedia("(min-width: 40.01rem)"); // on narrower windows lines wrap
  if (!(columns instanceof HTMLElement) || !scale) return;

  const button = element("button", { type: "button", class: "align", "data-key": "a", "aria-keyshortcuts": "a", title: "Peaks below each other (a)" }, "Align peaks");
  scale.append(button);

  function kept() {
    try {
      return localStorage.getItem(KEY) === "1";
    } catch {
      return false;
    }
  }

  /** @param {boolean} aligned */
  function keep(aligned) {
    try {
      localStorage.setItem(KEY, aligned ? "1" : "");
    } catch {
      // the choice holds for this page
    }
  }

  /** @param {boolean} aligned */
  function show(aligned) {
    button.setAttribute("aria-pressed", String(aligned));
    const lines = /** @type {HTMLElement[]} */ ([...(columns?.querySelectorAll(".contexts > li > p") ?? [])]);
    for (const line of lines) line.style.textIndent = "";
    const here = aligned && wide.matches;
    columns?.toggleAttribute("data-aligned", here);
    if (!here) return;
    // All places are read before any is set: each setting would make the browser lay out all anew
    const shifts = lines.map((line) => {
      const peak = line.querySelector("mark");
      const box = line.getBoundingClientRect();
      return peak ? COLUMN * box.width - (peak.getBoundingClientRect().left - box.left) : 0;
    });
    lines.forEach((line, i) => (line.style.textIndent = `${shifts[i].toFixed(1)}px`));
  }

  button.addEventListener("click", () => {
    const aligned = button.getAttribute("aria-pressed") !== "true";
    keep(aligned);
    show(aligned);
  });
  window.addEventListener("resize", () => show(kept()));
  show(kept());
})();
