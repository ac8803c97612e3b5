/** Aligns the peaks of all contexts in one column, as a concordance does. */
(() => {
  "use strict";

  const { element, columns } = window.sitegen;
  const KEY = "sitegen:align";
  // Position of the peaks, as a share of the line's width
  const COLUMN = 0.45;

  const scale = document.querySelector(".scale");
  // In narrower windows lines wrap
  const wide = window.matchMedia("(min-width: 40.01rem)");
  if (!columns || !scale) return;

  const button = element(
    "button",
    {
      type: "button",
      class: "align",
      "data-key": "a",
      "aria-keyshortcuts": "a",
      title: "Align the peaks in one column (a)",
    },
    "Align peaks",
  );
  scale.append(button);

  function kept() {
    try {
      return localStorage.getItem(KEY) === "1";
    } catch {
      return false;
    }
  }

  let wanted = kept();

  function keep() {
    try {
      localStorage.setItem(KEY, wanted ? "1" : "");
    } catch {
      // Without storage the choice holds for this page
    }
  }

  function show() {
    button.setAttribute("aria-pressed", String(wanted));
    const lines = /** @type {HTMLElement[]} */ ([...(columns?.querySelectorAll(".contexts > li > p") ?? [])]);
    for (const line of lines) line.style.textIndent = "";
    const here = wanted && wide.matches;
    columns?.toggleAttribute("data-aligned", here);
    if (!here) return;
    // All positions are read before any is changed: every change would make the browser lay out the page again
    const peaks = lines.map((line) => line.querySelector("mark")?.getBoundingClientRect().left ?? 0);
    const boxes = lines.map((line) => line.getBoundingClientRect());
    const column = Math.min(...boxes.map((box) => box.left + COLUMN * box.width));
    lines.forEach((line, i) => (line.style.textIndent = `${(column - peaks[i]).toFixed(1)}px`));
  }

  button.addEventListener("click", () => {
    wanted = !wanted;
    keep();
    show();
  });
  window.addEventListener("resize", show);
  show();
})();
