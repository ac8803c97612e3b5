/** Pieces of the two pages on which a reader enters a text: the field, its status, and the line of its tokens. */
(() => {
  "use strict";

  const site = window.sitegen;
  const { element } = site;
  const EXAMPLE = "Hero and I will head to Samantha and Mark's, then he and she will. Then I or you";

  /**
   * A text field and its status.
   * @param {string} label
   * @param {string} key shortcut
   */
  function field(label, key) {
    const area = /** @type {HTMLTextAreaElement} */ (
      element("textarea", {
        rows: "2",
        "aria-label": label,
        "data-key": key,
        "aria-keyshortcuts": key,
        spellcheck: "false",
        autocomplete: "off",
        maxlength: "20000",
      })
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
      // The link was cut off
      return undefined;
    }
  }

  /**
   * @param {string} page
   * @param {string} text
   */
  const linkTo = (page, text) => `${page.replace(/#.*$/s, "")}#text=${encodeURIComponent(text).replaceAll("'", "%27")}`;

  /**
   * A line of the tokens of a text, each coloured by a value; the arrow keys move along it.
   * @param {number[]} ids
   * @param {Vocabulary} vocabulary
   * @param {number[]} values
   * @param {number} maximum
   * @param {(token: number) => void} pointed called with the token that is pointed at, focused or clicked
   */
  function tokenLine(ids, vocabulary, values, maximum, pointed) {
    const line = element("p", { class: "own-text", role: "group", "aria-label": "Tokens of the text" });
    for (const { first, last, text } of site.groups(ids, vocabulary)) {
      let at = first;
      for (let i = first; i <= last; i++) if (values[i] > values[at]) at = i;
      const name = `${text.replaceAll(" ", "·")}: ${site.significant(values[at])}`;
      const token = element(
        "button",
        { type: "button", tabindex: line.children.length ? "-1" : "0", "aria-label": name, "data-at": String(at) },
        text,
      );
      const heat = maximum > 0 ? Math.min(values[at] / maximum, 1) : 0;
      if (heat > 0) token.setAttribute("style", `--a:${heat.toFixed(3)}`);
      line.append(token);
    }
    /** @param {Event} event */
    const of = (event) => {
      const token = event.target instanceof Element ? event.target.closest("button") : null;
      if (token) pointed(Number(token.dataset.at));
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
   * A token as named in a sentence.
   * @param {number[]} ids
   * @param {number} at
   * @param {Vocabulary} vocabulary
   */
  const named = (ids, at, vocabulary) => [
    element("code", {}, site.shown(ids[at], vocabulary)),
    `, token ${ids[at]} at position ${at}`,
  ];

  /** @param {number} n tokens */
  const leftOut = (n) =>
    n
      ? ` The text is longer than a row: ${site.grouped(n)} more ${n === 1 ? "token was" : "tokens were"} cut off.`
      : "";

  /**
   * Runs work one call at a time; of the calls made meanwhile, only the newest is run.
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
