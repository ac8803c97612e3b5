/**
 * A card on each token of a context, shown when the token is pointed at, focused or clicked: the token, the feature's
 * activation on it, and what removing the feature there changes.
 */
(() => {
  "use strict";

  const site = window.sitegen;
  const { element, columns } = site;
  // Tokens on which the feature is active
  const ACTIVE = "mark:not(.inactive), b, i[style]";
  const TOKEN = "[data-at], mark, b, i[style]";

  if (!columns) return;
  const hasAblation = columns.dataset.ablation !== undefined;

  /** @type {Map<Element, number>} the line of each of the record's contexts, and its index among them */
  const contexts = new Map();
  // The record's intervals begin with the weakest, the page's with the strongest
  const intervals = [...columns.querySelectorAll("[aria-labelledby=intervals] > .contexts")].reverse();
  for (const list of [...columns.querySelectorAll("[aria-labelledby=top] > .contexts"), ...intervals]) {
    for (const line of list.querySelectorAll(":scope > li > p")) contexts.set(line, contexts.size);
  }
  for (const token of columns.querySelectorAll(`.contexts :is(${ACTIVE}, mark)`)) {
    token.setAttribute("tabindex", token.matches("mark") ? "0" : "-1");
  }

  const card = element("div", { class: "token-card", role: "status" });
  card.hidden = true;
  (document.querySelector("main") ?? document.body).append(card);

  /** @type {WeakMap<Element, Promise<number[]>>} lines that are split into tokens, with the ids of these */
  const split = new WeakMap();

  /**
   * Splits the text of a line into tokens, once: pages hold a run of inactive tokens as one piece of text.
   * @param {Element} line
   */
  function splitOnce(line) {
    let done = split.get(line);
    if (!done) {
      done = splitLine(line);
      split.set(line, done);
      done.catch(() => split.delete(line));
    }
    return done;
  }

  /**
   * @param {Element} line
   * @returns {Promise<number[]>}
   */
  async function splitLine(line) {
    const { row, start, end } = site.spanOf(line);
    const [tokens, vocabulary] = await Promise.all([site.rowTokens(row), site.load("vocabulary")]);
    const ids = tokens.slice(start, end);
    const groups = site.groups(ids, vocabulary);
    if (groups.map((group) => group.text).join("") !== line.textContent) {
      throw new Error(`the text of row ${row} differs from this page's`);
    }
    // The pieces of the line and the groups hold the same text; a piece of inactive text holds several groups
    let next = 0;
    for (const node of [...line.childNodes]) {
      let left = node.textContent?.length ?? 0;
      const pieces = [];
      while (left > 0) {
        const group = groups[next++];
        left -= group.text.length;
        if (node instanceof HTMLElement) {
          node.dataset.at = String(group.first);
          if (!node.hasAttribute("tabindex")) node.tabIndex = -1;
        } else pieces.push(element("span", { "data-at": String(group.first), tabindex: "-1" }, group.text));
      }
      if (!(node instanceof HTMLElement)) /** @type {ChildNode} */ (node).replaceWith(...pieces);
    }
    return ids;
  }

  /**
   * Index of a token among the ablations; -1 if it has none.
   * @param {HTMLElement} token
   * @param {Element} line
   * @param {Ablations} ablations
   */
  function ablationOf(token, line, ablations) {
    const context = contexts.get(line);
    if (context === undefined || !token.matches(ACTIVE)) return -1;
    const first = ablations.context.indexOf(context);
    // Ablations and active pieces run parallel, except in lines where a piece holds several tokens
    if (token.dataset.offset === undefined) return first + [...line.querySelectorAll(ACTIVE)].indexOf(token);
    const offset = Number(token.dataset.offset);
    return ablations.offset.findIndex((at, i) => at === offset && ablations.context[i] === context);
  }

  /** @param {number} thousandths */
  const signed = (thousandths) => `${thousandths < 0 ? "−" : "+"}${(Math.abs(thousandths) / 1000).toFixed(3)}`;

  /**
   * A table of tokens and the changes of their log-probability.
   * @param {string} title
   * @param {number[][]} ids by rank, then by ablation
   * @param {number[][]} steps the same of their changes, each less that of the rank before
   * @param {number} i index among the ablations
   * @param {Vocabulary} vocabulary
   */
  function changes(title, ids, steps, i, vocabulary) {
    const table = document.createElement("table");
    table.createCaption().textContent = title;
    let change = 0;
    ids.forEach((ranked, rank) => {
      change += steps[rank][i];
      const row = table.insertRow();
      row.insertCell().append(element("code", {}, site.shown(ranked[i], vocabulary)));
      row.insertCell().textContent = signed(change);
    });
    return table;
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
    if (!line || token === shown) return;
    shown = token;
    card.replaceChildren(headOf(token));
    card.hidden = false;
    site.putBeside(card, token);
    try {
      const [ids, vocabulary] = await Promise.all([splitOnce(line), site.load("vocabulary")]);
      if (shown !== token) return;
      card.replaceChildren(headOf(token), identity(token, line, ids));
      if (hasAblation && contexts.has(line) && token.matches(ACTIVE)) {
        /** @type {Ablations} */
        const ablation = await site.load(`evidence/${site.featureId}`);
        if (shown !== token) return;
        card.append(...effects(ablationOf(token, line, ablation), ablation, vocabulary));
      }
    } catch (error) {
      if (shown === token) card.append(element("p", {}, `Details are not available: ${site.reason(error)}.`));
    }
    site.putBeside(card, token);
  }

  /** @param {HTMLElement} token */
  function headOf(token) {
    const text = (token.textContent ?? "").replaceAll(" ", "·");
    const isActivePeak = token.matches("mark:not(.inactive)");
    const activation = isActivePeak
      ? token.parentElement?.previousSibling?.textContent
      : site.significant(Number(token.style.getPropertyValue("--v")));
    return element("p", {}, element("code", {}, text), ` activation ${activation}`);
  }

  /**
   * @param {HTMLElement} token
   * @param {Element} line
   * @param {number[]} ids
   */
  function identity(token, line, ids) {
    // Of several tokens in a piece, the strongest
    const at = Number(token.dataset.offset ?? token.dataset.at);
    return element("p", { class: "identity" }, `token ${ids[at]} at position ${site.spanOf(line).start + at}`);
  }

  /**
   * What removing the feature at a token changes.
   * @param {number} i index among the ablations
   * @param {Ablations} ablations
   * @param {Vocabulary} vocabulary
   */
  function effects(i, ablations, vocabulary) {
    if (i < 0) return [];
    const change = ablations.loss_change[i];
    const loss =
      change === null
        ? "The row ends here: there is no next token to predict."
        : `Without the feature, the loss on the next token changes by ${signed(change)} nats.`;
    return [
      element("p", {}, loss),
      element(
        "div",
        { class: "pair" },
        changes("Promoted here", ablations.promoted_id, ablations.promoted_change, i, vocabulary),
        changes("Suppressed here", ablations.suppressed_id, ablations.suppressed_change, i, vocabulary),
      ),
    ];
  }

  /** @param {Event} event */
  const tokenOf = (event) => {
    const token = event.target instanceof Element ? event.target.closest(TOKEN) : null;
    return token instanceof HTMLElement && token.closest(".contexts > li > p") ? token : null;
  };
  /** @param {Event} event */
  const enter = (event) => {
    const token = tokenOf(event);
    if (token) show(token);
    else hide();
  };
  columns.addEventListener("pointerover", (event) => {
    const line = event.target instanceof Element ? event.target.closest(".contexts > li > p") : null;
    // Errors are shown by the card
    if (line) splitOnce(line).catch(() => undefined);
    enter(event);
  });
  columns.addEventListener("pointerleave", hide);
  columns.addEventListener("focusin", enter);
  columns.addEventListener("focusout", hide);
  document.addEventListener("click", enter);
  document.addEventListener("keydown", (event) => {
    const here = document.activeElement;
    if (event.key === "Escape") hide();
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (!(here instanceof HTMLElement) || !here.matches(`.contexts > li > p > :is(${TOKEN})`)) return;
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const line = here.closest("p");
    if (!step || !line) return;
    const tokens = [...line.querySelectorAll(TOKEN)];
    const next = tokens[tokens.indexOf(here) + step];
    if (next instanceof HTMLElement) {
      event.preventDefault();
      next.focus();
    }
  });
})();
