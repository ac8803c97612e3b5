/** Contexts of a feature: each can be expanded to its row, copied, linked to, and tried as the reader's own text. */
(() => {
  "use strict";

  const site = window.sitegen;
  const { element, sizes, columns } = site;
  if (!columns) return;

  /**
   * @param {number} row
   * @returns {Promise<number[]>} its token ids
   */
  async function tokensOf(row) {
    const rows = await site.load(`rows/${Math.floor(row / sizes.rows_per_file)}`);
    const tokens = rows.tokens[rows.row.indexOf(row)];
    if (tokens === undefined) throw new Error(`row ${row} is not stored`);
    return tokens;
  }

  /** @param {HTMLElement} item */
  async function open(item) {
    const span = site.spanOf(item.querySelector(":scope > p"));
    const panel = element("div", { class: "row-panel" }, element("p", { class: "note" }, "Loading …"));
    item.append(panel);
    item.querySelector("button.location")?.setAttribute("aria-expanded", "true");
    try {
      const [tokens, vocabulary] = await Promise.all([tokensOf(span.row), site.load("vocabulary")]);
      panel.replaceChildren(...rowParts(span, tokens, vocabulary));
    } catch (error) {
      const problem = `The row cannot be shown: ${site.reason(error)}.`;
      panel.replaceChildren(element("p", { class: "note", role: "status" }, problem));
    }
  }

  /**
   * The text of a row with the context underlined and its peak marked, and what can be done with it.
   * @param {ContextSpan} span
   * @param {number[]} tokens
   * @param {Vocabulary} vocabulary
   */
  function rowParts({ row, position, start, end }, tokens, vocabulary) {
    // Groups of the whole row, so that no character is cut at the ends of the context
    const groups = site.groups(tokens, vocabulary);
    const peak = groups.find((group) => group.last >= position) ?? groups[0];
    /**
     * Text of the groups that begin in [from, to).
     * @param {number} from
     * @param {number} to
     */
    const part = (from, to) =>
      groups
        .filter((group) => group.first >= from && group.first < to)
        .map((group) => group.text)
        .join("");
    const after = peak.last + 1;
    const whole = element(
      "p",
      { class: "whole-row", lang: "", tabindex: "0", "aria-label": `Row ${row}` },
      part(0, start),
      element("span", {}, part(start, peak.first), element("mark", {}, peak.text), part(after, end)),
      part(end, tokens.length),
    );
    const before = part(position - sizes.line_before, peak.first);
    const line = `${before}|${peak.text}|${part(after, after + sizes.line_after)}`;
    const link = new URL(`#${row}/${position}`, location.href).href;
    const actions = element(
      "p",
      { class: "actions" },
      site.copier("Copy line", () => line, { title: line }),
      site.copier("Copy link", () => link, { title: link }),
      ...trying(tokens, position, (from) => part(from, end)),
      element("small", {}, `row ${row}, ${tokens.length} tokens; the context is underlined`),
    );
    return [whole, actions];
  }

  /**
   * A button that puts the text up to the end of a context into the reader's own field, if there is one: what the model
   * had read at the peak.
   * @param {number[]} tokens
   * @param {number} position
   * @param {(from: number) => string} textFrom
   */
  function trying(tokens, position, textFrom) {
    if (!site.tryText) return [];
    const title = "Copy the text up to here into the text field, where you can edit it";
    const button = element("button", { type: "button", title }, "Try this");
    button.addEventListener("click", async () => {
      // If the settings cannot be read, the field says so
      const settings = await site.live.settings().catch(() => null);
      // The text begins after the last special token, which has no text itself
      let from = position;
      while (from > 0 && !settings?.special_ids.includes(tokens[from - 1])) from--;
      site.tryText?.(textFrom(from));
    });
    return [button];
  }

  /** @param {HTMLElement} item */
  function toggle(item) {
    const panel = item.querySelector(".row-panel");
    if (!panel) return open(item);
    panel.remove();
    item.querySelector("button.location")?.setAttribute("aria-expanded", "false");
    return undefined;
  }

  /** Makes the location of each context, row/position, a button that expands it. */
  for (const item of columns.querySelectorAll(".contexts > li")) {
    const location = item.querySelector(":scope > p")?.nextSibling;
    if (!(item instanceof HTMLElement) || !location) continue;
    const [place, copies = ""] = (location.textContent ?? "").trim().split(" ");
    const attributes = { type: "button", class: "location", "aria-expanded": "false", title: "Show the whole row" };
    const button = element("button", attributes, place);
    location.replaceWith(element("small", {}, button, " ", copies));
    button.addEventListener("click", () => toggle(item));
  }

  /** Shows the context that the address asks for. */
  function follow() {
    const wanted = location.hash.slice(1);
    if (!/^\d+\/\d+$/.test(wanted)) return;
    for (const item of columns?.querySelectorAll(".contexts > li") ?? []) {
      if (!(item instanceof HTMLElement)) continue;
      const { row, position } = site.spanOf(item.querySelector(":scope > p"));
      if (`${row}/${position}` !== wanted) continue;
      for (const former of document.querySelectorAll("li[aria-current]")) former.removeAttribute("aria-current");
      item.setAttribute("aria-current", "location");
      if (!item.querySelector(".row-panel")) open(item);
      item.scrollIntoView({ block: "center" });
      return;
    }
  }
  window.addEventListener("hashchange", follow);
  follow();

  /** Links each token with a logit effect to its page. */
  for (const head of columns.querySelectorAll(".effects th[title]")) {
    const id = Number((head.getAttribute("title") ?? "").slice(1));
    const title = `token ${id}: all features that are active on it, promote it or suppress it`;
    head.removeAttribute("title");
    head.replaceChildren(element("a", { href: site.tokenUrl(id), title }, ...head.childNodes));
  }

  site.rowTokens = tokensOf;
})();
