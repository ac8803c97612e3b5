/**
 * A card on each token of a context: what it is, how strongly the feature fires on it, what taking the feature out there
 * changes. On pointing at it, focusing it or choosing it.
 */
(() => {
  "use strict";

  const site = window.sitegen;
  const { element } = site;
  const FIRING = "mark:not(.silent), b, i[title]";
  const TOKEN = "[data-at], mark, b, i[title]";

  const columns = document.querySelector("[data-feature]");
  if (!(columns instanceof HTMLElement)) return;
  const feature = columns.dataset.feature;
  const nBefore = Number(columns.dataset.before);
  const nAfter = Number(columns.dataset.after);
  const hasAblation = columns.dataset.ablation !== undefined;

  /** @type {Map<Element, number>} each line of the record's contexts, and its place among them */
  const contexts = new Map();
  for (const list of columns.querySelectorAll("[data-first]")) {
    const first = Number(list instanceof HTMLElement && list.dataset.first);
    list.querySelectorAll(":scope > li > p").forEach((line, i) => contexts.set(line, first + i));
  }
  for (const token of columns.querySelectorAll(`.contexts :is(${FIRING}, mark)`)) {
    token.setAttribute("tabindex", token.matches("mark") ? "0" : "-1");
  }

  const card = element("div", { class: "token-card", role: "status" });
  card.hidden = true;
  (document.querySelector("main") ?? document.body).append(card);

  /** @type {WeakMap<Element, Promise<number[]>>} lines whose tokens are told apart, with the ids from their first on */
  const split = new WeakMap();

  /**
   * Tells the tokens of a line apart: silent text comes as one piece.
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
    const [row, position] = site.placeOf(line);
    const [tokens, vocabulary] = await Promise.all([site.rowTokens(row), site.load("vocabulary")]);
    const first = Math.max(position - nBefore, 0);
    const ids = tokens.slice(first, position + nAfter + 1);
    const groups = site.groups(ids, vocabulary);
    if (groups.map((group) => group.text).join("") !== line.textContent) throw new Error("the row's text is another");
    line.setAttribute("data-start", String(first));
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
   * Where the ablations have a token; -1 where they do not.
   * @param {HTMLElement} token
   * @param {Element} line
   * @param {Ablations} ablations
   */
  function placeOf(token, line, ablations) {
    const context = contexts.get(line);
    if (context === undefined || !token.matches(FIRING)) return -1;
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
   * @param {Vocabulary} vocabulary
   */
  function changes(title, ids, values, vocabulary) {
    const table = document.createElement("table");
    table.createCaption().textContent = title;
    ids.forEach((id, i) => {
      const row = table.insertRow();
      row.insertCell().append(element("code", {}, site.shown(id, vocabulary)));
      row.insertCell().textContent = signed(values[i]);
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
    site.place(card, token);
    try {
      const [ids, vocabulary] = await Promise.all([splitOnce(line), site.load("vocabulary")]);
      if (shown !== token) return;
      card.replaceChildren(headOf(token), identity(token, line, ids));
      if (hasAblation && contexts.has(line) && token.matches(FIRING)) {
        const { ablation } = await site.load(`evidence/${feature}`);
        if (shown !== token) return;
        card.append(...effects(placeOf(token, line, ablation), ablation, vocabulary));
      }
    } catch (error) {
      if (shown === token) card.append(element("p", {}, `More is not there: ${site.reason(error)}.`));
    }
    site.place(card, token);
  }

  /** @param {HTMLElement} token */
  function headOf(token) {
    const text = (token.textContent ?? "").replaceAll(" ", "·");
    const own = token.matches("mark") && !token.matches(".silent") ? token.closest("li")?.querySelector("data")?.textContent : token.title;
    return element("p", {}, element("code", {}, text), ` activation ${own || "0"}`);
  }

  /**
   * @param {HTMLElement} token
   * @param {Element} line
   * @param {number[]} ids
   */
  function identity(token, line, ids) {
    const at = Number(token.dataset.offset ?? token.dataset.at); // of several tokens the strongest
    return element("p", { class: "identity" }, `token ${ids[at]} at position ${Number(line.getAttribute("data-start")) + at}`);
  }

  /**
   * @param {number} i its place in the ablations
   * @param {Ablations} ablations
   * @param {Vocabulary} vocabulary
   */
  function effects(i, ablations, vocabulary) {
    if (i < 0) return [];
    const change = ablations.loss_change[i];
    const loss = change === null ? "Ends its row: no next token to predict." : `Without the feature the loss on the next token changes by ${signed(change)} nats.`;
    return [
      element("p", {}, loss),
      element(
        "div",
        { class: "pair" },
        changes("Promoted here", ablations.promoted_id[i], ablations.promoted_change[i], vocabulary),
        changes("Suppressed here", ablations.suppressed_id[i], ablations.suppressed_change[i], vocabulary),
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
    if (line) splitOnce(line).catch(() => undefined); // the card says what is wrong
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
