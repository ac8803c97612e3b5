/** Words explained where they stand: a link to a definition shows it on pointing at it or focusing it. */
(() => {
  "use strict";

  const { element, load, place } = window.sitegen;
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
      place(card, link);
      link.setAttribute("aria-describedby", "term");
    } catch {
      hide(); // the link leads to the definition all the same
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
