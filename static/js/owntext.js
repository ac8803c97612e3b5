/** What the two places have in common where a reader types a text: the field, the line of its tokens, what is being done. */
(() => {
  "use strict";

  const site = window.sitegen;
  const { element } = site;
  const EXAMPLE = "Hero and I will head to Samantha and Mark's, then he and she will. Then I or you";

  /**
   * A text field, and below it what is being done.
   * @param {string} label
   * @param {string} key shortcut
   */
  function field(label, key) {
    const area = /** @type {HTMLTextAreaElement} */ (
      element("textarea", { rows: "2", "aria-label": label, "data-key": key, "aria-keyshortcuts": key, spellcheck: "false", autocomplete: "off", maxlength: "20000" })
    );
    area.value = textOf(location.hash) ?? EXAMPLE;
    const status = element("p", { class: "note", role: "status" });
    return { area, status };
  }

  /**
   * The text that a link carries.
   * @param {string} hash
   */
  function textOf(hash) {
    const carried = /^#text=(.*)$/s.exec(hash)?.[1];
    try {
      return carried === undefined ? undefined : decodeURIComponent(carried);
    } catch {
      return undefined; // a link that was cut off
    }
  }

  /**
   * @param {string} page
   * @param {string} text
   */
  const linkTo = (page, text) => `${page.replace(/#.*$/s, "")}#text=${encodeURIComponent(text).replaceAll("'", "%27")}`;

  /**
   * The tokens of a text in a line, each coloured by a value; arrows lead along.
   * @param {number[]} ids
   * @param {Vocabulary} vocabulary
   * @param {number[]} values
   * @param {number} maximum
   * @param {(token: number) => void} tell of the one that is pointed at, focused or chosen
   */
  function tokenLine(ids, vocabulary, values, maximum, tell) {
    const line = element("p", { class: "own-text", role: "group", "aria-label": "Tokens of the text" });
    for (const { first, last, text } of site.groups(ids, vocabulary)) {
      let at = first;
      for (let i = first; i <= last; i++) if (values[i] > values[at]) at = i;
      const name = `${text.replaceAll(" ", "·")}: ${site.significant(values[at])}`;
      const token = element("button", { type: "button", tabindex: line.children.length ? "-1" : "0", "aria-label": name, "data-at": String(at) }, text);
      const heat = maximum > 0 ? Math.min(values[at] / maximum, 1) : 0;
      if (heat > 0) token.setAttribute("style", `--a:${heat.toFixed(3)}`);
      line.append(token);
    }
    /** @param {Event} event */
    const of = (event) => {
      const token = event.target instanceof Element ? event.target.closest("button") : null;
      if (token) tell(Number(token.dataset.at));
    };
    for (const kind of ["pointerover", "focusin", "click"]) line.addEventListener(kind, of);
    line.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      const tokens = [...line.querySelectorAll("button")];
      const here = tokens.findIndex((token) => token === document.activeElement);
      const next = step && tokens[here + step];
      if (!next) return;
      event.preventDefault();
      tokens[here].tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    });
    return line;
  }

  /**
   * A token as it is told of in a sentence.
   * @param {number[]} ids
   * @param {number} at
   * @param {Vocabulary} vocabulary
   */
  const named = (ids, at, vocabulary) => [element("code", {}, site.shown(ids[at], vocabulary)), ` token ${ids[at]} at position ${at}`];

  /** @param {number} n tokens */
  const leftOut = (n) => (n ? ` ${site.grouped(n)} more ${n === 1 ? "token is" : "tokens are"} beyond the length of a row and left out.` : "");

  /**
   * Runs work for the newest of many calls: one at a time, those between are left out.
   * @param {() => Promise<void>} work
   */
  function newest(work) {
    let running = false;
    let again = false;
    return async () => {
      again = true;
      if (running) return;
      running = true;
      while (again) {
        again = false;
        await work();
      }
      running = false;
    };
  }

  site.ownText = { field, textOf, linkTo, tokenLine, named, leftOut, newest };
})();
