/** A link to a definition of the about page shows the definition when it is pointed at or focused. */
(() => {
  "use strict";

  const { element, load, putBeside } = window.sitegen;
  const TERM = 'a[href*="about.html#"]';

  const card = element("div", { class: "term-card", role: "tooltip", id: "term" });
  card.hidden = true;
  (document.querySelector("main") ?? document.body).append(card);
  /** @type {HTMLElement | null} */
  let shown = null;

  /** @param {HTMLElement} link */
  async function show(link) {
    if (link === shown) return;
    shown = link;
    const name = (link.getAttribute("href") ?? "").split("#")[1];
    try {
      const terms = await load("terms");
      if (shown !== link || !terms[name]) return;
      const [title, text] = terms[name];
      card.replaceChildren(element("p", {}, element("strong", {}, title)), element("p", {}, text));
      card.hidden = false;
      putBeside(card, link);
      link.setAttribute("aria-describedby", "term");
    } catch {
      // The link still leads to the definition
      hide();
    }
  }

  function hide() {
    shown?.removeAttribute("aria-describedby");
    shown = null;
    card.hidden = true;
  }

  /** @param {Event} event */
  const enter = (event) => {
    const link = event.target instanceof Element ? event.target.closest(TERM) : null;
    if (link instanceof HTMLAnchorElement && link.pathname !== location.pathname) show(link);
    else if (shown) hide();
  };
  document.addEventListener("pointerover", enter);
  document.addEventListener("focusin", enter);
  document.addEventListener("focusout", hide);
  document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
})();
