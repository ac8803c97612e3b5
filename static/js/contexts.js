/** Lines of context: each opens to its whole row, can be copied, and can be linked to. */
(() => {
  "use strict";

  const site = window.sitegen;
  const { element } = site;
  const ROWS_PER_FILE = 64;
  const LINE_BEFORE = 5; // tokens of the line that is copied
  const LINE_AFTER = 1;

  const columns = document.querySelector("[data-feature]");
  if (!(columns instanceof HTMLElement)) return;
  const nBefore = Number(columns.dataset.before);
  const nAfter = Number(columns.dataset.after);

  /**
   * @param {number} row
   * @returns {Promise<number[]>} its token ids
   */
  async function tokensOf(row) {
    const rows = await site.load(`rows/${Math.floor(row / ROWS_PER_FILE)}`);
    const packed = rows.tokens[rows.row.indexOf(row)];
    if (packed === undefined) throw new Error(`row ${row} is not among those kept`);
    const bytes = Uint8Array.from(atob(packed), (character) => character.charCodeAt(0));
    return [...(rows.bytes_per_token === 2 ? new Uint16Array(bytes.buffer) : new Uint32Array(bytes.buffer))];
  }

  /** @param {HTMLElement} item */
  async function open(item) {
    const button = item.querySelector("button.place");
    const [row, position] = site.placeOf(item);
    const panel = element("div", { class: "row-panel" }, element("p", { class: "note" }, "Loading …"));
    item.append(panel);
    button?.setAttribute("aria-expanded", "true");
    try {
      const [tokens, vocabulary] = await Promise.all([tokensOf(row), site.load("vocabulary")]);
      const groups = site.groups(tokens, vocabulary); // of the whole row, so that no character is cut
      const peak = groups.find((group) => group.last >= position) ?? groups[0];
      const first = Math.max(position - nBefore, 0);
      const last = Math.min(position + nAfter + 1, tokens.length);
      /**
       * Text of the groups that begin from a position on and before another.
       * @param {number} from
       * @param {number} to
       */
      const part = (from, to) => groups.filter((group) => group.first >= from && group.first < to).map((group) => group.text).join("");
      const after = peak.last + 1;
      const whole = element(
        "p",
        { class: "whole-row", lang: "", tabindex: "0", "aria-label": `Row ${row}` },
        part(0, first),
        element("span", {}, part(first, peak.first), element("mark", {}, peak.text), part(after, last)),
        part(last, tokens.length),
      );
      const line = `${part(position - LINE_BEFORE, peak.first)}|${peak.text}|${part(after, after + LINE_AFTER)}`;
      const link = new URL(`#${row}/${position}`, location.href).href;
      const actions = [site.copier("Copy line", () => line, { title: line }), site.copier("Copy link", () => link, { title: link }), ...trying(tokens, position, (from) => part(from, last))];
      panel.replaceChildren(whole, element("p", { class: "actions" }, ...actions, element("small", {}, `row ${row}, ${tokens.length} tokens; the part above is underlined`)));
    } catch (error) {
      panel.replaceChildren(element("p", { class: "note", role: "status" }, `The row cannot be shown: ${site.reason(error)}.`));
    }
  }

  /**
   * A button that puts a line's text into the field for one's own, where there is one: what the model read up to there.
   * @param {number[]} tokens
   * @param {number} position
   * @param {(from: number) => string} textFrom
   */
  function trying(tokens, position, textFrom) {
    if (!site.tryText) return [];
    const button = element("button", { type: "button", title: "Puts the text up to here into a field where you can change it" }, "Try this");
    button.addEventListener("click", async () => {
      const settings = await site.live.settings().catch(() => null); // the field tells what is missing
      let from = position;
      while (from > 0 && !settings?.special_ids.includes(tokens[from - 1])) from--; // what stands before has no text
      site.tryText?.(textFrom(from));
    });
    return [button];
  }

  /** @param {HTMLElement} item */
  function toggle(item) {
    const panel = item.querySelector(".row-panel");
    if (!panel) return open(item);
    panel.remove();
    item.querySelector("button.place")?.setAttribute("aria-expanded", "false");
    return undefined;
  }

  for (const item of columns.querySelectorAll(".contexts > li")) {
    const small = item.querySelector(":scope > small");
    const place = small?.firstChild;
    if (!(item instanceof HTMLElement) || !small || !place) continue;
    const button = element("button", { type: "button", class: "place", "aria-expanded": "false", title: "Show the whole row" }, place.textContent?.trim() ?? "");
    place.replaceWith(button, " ");
    button.addEventListener("click", () => toggle(item));
  }

  function follow() {
    const wanted = location.hash.slice(1);
    if (!/^\d+\/\d+$/.test(wanted)) return;
    for (const item of columns?.querySelectorAll(".contexts > li") ?? []) {
      if (!(item instanceof HTMLElement) || site.placeOf(item).join("/") !== wanted) continue;
      for (const former of document.querySelectorAll("li[aria-current]")) former.removeAttribute("aria-current");
      item.setAttribute("aria-current", "location");
      if (!item.querySelector(".row-panel")) open(item);
      item.scrollIntoView({ block: "center" });
      return;
    }
  }
  window.addEventListener("hashchange", follow);
  follow();

  for (const code of columns.querySelectorAll(".effects code[title]")) {
    const id = Number((code.getAttribute("title") ?? "").split(" ")[1]);
    const link = element("a", { href: site.tokenUrl(id), title: `id ${id}: all features that fire on it, promote or suppress it` });
    code.replaceWith(link);
    link.append(code);
  }

  site.rowTokens = tokensOf;
})();
