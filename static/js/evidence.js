/** What taking the feature out changes at a coloured token: on pointing at it, focusing or choosing it. */
(() => {
  "use strict";

  const FIRING = "mark:not(.silent), b, i[title]";
  const columns = document.querySelector("[data-feature]");
  if (!(columns instanceof HTMLElement)) return;
  const feature = columns.dataset.feature;
  /** @type {Map<Element, number>} each line, and its place among the contexts of the record */
  const lines = new Map();
  for (const list of columns.querySelectorAll("[data-first]")) {
    const first = Number(list instanceof HTMLElement && list.dataset.first);
    list.querySelectorAll(":scope > li > p").forEach((line, i) => lines.set(line, first + i));
  }

  const card = document.createElement("aside");
  card.className = "token-card";
  card.hidden = true;
  card.setAttribute("role", "status");
  document.body.append(card);

  for (const line of lines.keys()) {
    for (const token of line.querySelectorAll(FIRING)) {
      token.setAttribute("tabindex", token.matches("mark") ? "0" : "-1");
    }
  }

  /**
   * @typedef {{context: number[], offset: number[], loss_change: (number | null)[], promoted_id: number[][],
   *   promoted_change: number[][], suppressed_id: number[][], suppressed_change: number[][]}} Ablations
   */

  /**
   * Where the ablations have a token; -1 where they do not.
   * @param {HTMLElement} token
   * @param {Element} line
   * @param {number} context of the line
   * @param {Ablations} ablations
   */
  function placeOf(token, line, context, ablations) {
    const first = ablations.context.indexOf(context);
    if (token.dataset.offset === undefined) return first + [...line.querySelectorAll(FIRING)].indexOf(token);
    const offset = Number(token.dataset.offset);
    return ablations.offset.findIndex((at, i) => at === offset && ablations.context[i] === context);
  }

  /** @param {number} value */
  const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(3)}`;

  /**
   * A list of tokens and how their log-probability changes.
   * @param {string} title
   * @param {number[]} ids
   * @param {number[]} values
   * @param {string[]} vocabulary
   */
  function changes(title, ids, values, vocabulary) {
    const table = document.createElement("table");
    table.createCaption().textContent = title;
    ids.forEach((id, i) => {
      const row = table.insertRow();
      const token = document.createElement("code");
      token.textContent = vocabulary[id];
      row.insertCell().append(token);
      row.insertCell().textContent = signed(values[i]);
    });
    return table;
  }

  /**
   * Puts the card beside a token, within the window.
   * @param {HTMLElement} token
   */
  function place(token) {
    const box = token.getBoundingClientRect();
    const below = box.bottom + card.offsetHeight + 8 < window.innerHeight;
    const left = Math.max(8, Math.min(box.left, document.documentElement.clientWidth - card.offsetWidth - 8));
    card.style.left = `${left + window.scrollX}px`;
    card.style.top = `${(below ? box.bottom + 6 : Math.max(8, box.top - card.offsetHeight - 6)) + window.scrollY}px`;
  }

  /** @type {HTMLElement | null} */
  let shown = null;

  function hide() {
    shown = null;
    card.hidden = true;
  }

  /** @param {HTMLElement} token */
  async function show(token) {
    const line = token.closest("p");
    const context = line && lines.get(line);
    if (!line || context === undefined || context === null || token === shown) return;
    shown = token;
    const head = document.createElement("p");
    head.textContent = "Loading …";
    card.replaceChildren(head);
    card.hidden = false;
    place(token);
    try {
      const [evidence, vocabulary] = await Promise.all([
        window.sitegen.load("evidence", `../load/evidence/${feature}.js`),
        window.sitegen.load("vocabulary", "../load/vocabulary.js"),
      ]);
      if (shown !== token) return;
      fill(token, placeOf(token, line, context, evidence.ablation), evidence.ablation, vocabulary);
    } catch (error) {
      head.textContent = `What taking the feature out changes is not there: ${error instanceof Error ? error.message : error}.`;
    }
    place(token);
  }

  /**
   * @param {HTMLElement} token
   * @param {number} i its place in the ablations
   * @param {Ablations} ablations
   * @param {string[]} vocabulary
   */
  function fill(token, i, ablations, vocabulary) {
    if (i < 0) return hide();
    const head = document.createElement("p");
    const name = document.createElement("code");
    name.textContent = token.textContent;
    const activation = token.title || token.closest("li")?.querySelector("data")?.textContent;
    head.append(name, ` activation ${activation}`);
    const loss = document.createElement("p");
    const change = ablations.loss_change[i];
    loss.textContent =
      change === null
        ? "Ends its row: no next token to predict."
        : `Without the feature the loss on the next token changes by ${signed(change)} nats.`;
    const pair = document.createElement("div");
    pair.className = "pair";
    pair.append(
      changes("Promoted here", ablations.promoted_id[i], ablations.promoted_change[i], vocabulary),
      changes("Suppressed here", ablations.suppressed_id[i], ablations.suppressed_change[i], vocabulary),
    );
    card.replaceChildren(head, loss, pair);
  }

  /** @param {Event} event */
  const tokenOf = (event) => {
    const token = event.target instanceof Element ? event.target.closest(FIRING) : null;
    return token instanceof HTMLElement ? token : null;
  };
  /** @param {Event} event */
  const enter = (event) => {
    const token = tokenOf(event);
    if (token) show(token);
    else if (!(event.target instanceof Node && card.contains(event.target))) hide();
  };
  columns.addEventListener("pointerover", enter);
  columns.addEventListener("focusin", enter);
  columns.addEventListener("focusout", hide);
  document.addEventListener("click", enter);
  document.addEventListener("keydown", (event) => {
    const here = document.activeElement;
    if (event.key === "Escape") hide();
    if (!(here instanceof HTMLElement) || !here.matches(FIRING)) return;
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const line = here.closest("p");
    if (!step || !line) return;
    const tokens = [...line.querySelectorAll(FIRING)];
    const next = tokens[tokens.indexOf(here) + step];
    if (next instanceof HTMLElement) {
      event.preventDefault();
      next.focus();
    }
  });
})();
