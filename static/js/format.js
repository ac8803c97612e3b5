/** Numbers and tokens as text, as the pages' templates write them. */
(() => {
  "use strict";

  /** @param {string} text with a real minus sign */
  const signed = (text) => text.replace("-", "−");

  /**
   * A share in percent, with at least two significant digits.
   * @param {number} share of one
   */
  function percent(share) {
    const value = 100 * share;
    if (value === 0) return "0 %";
    if (value >= 10) return `${value.toFixed(1)} %`;
    if (value >= 0.1) return `${value.toFixed(2)} %`;
    return `${value.toFixed(1 - Math.floor(Math.log10(value)))} %`;
  }

  /**
   * Enough digits to tell neighbouring values apart.
   * @param {number} value
   */
  function significant(value) {
    const size = Math.abs(value);
    if (size === 0) return "0";
    if (size >= 10) return signed(value.toFixed(1));
    if (size >= 0.001) return signed(value.toFixed(3));
    if (size >= 0.0001) return signed(String(Number(value.toPrecision(2))));
    // As Python writes it
    const [digits, exponent] = value.toExponential(1).split("e-");
    return `${signed(digits.replace(/\.0$/, ""))}e-${exponent.padStart(2, "0")}`;
  }

  /** @param {number} count */
  const grouped = (count) => count.toLocaleString("en-US");

  /**
   * @param {number} id
   * @param {Vocabulary} vocabulary
   */
  const shown = (id, vocabulary) => (vocabulary.text[id] ?? "⟨no token⟩").replaceAll(" ", "·");

  /**
   * The text of bytes; undefined if they are not text, null if only their last character is incomplete.
   * @param {number[]} bytes
   */
  function decoded(bytes) {
    const array = new Uint8Array(bytes);
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(array);
    } catch {
      try {
        new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(array, { stream: true });
        return null;
      } catch {
        return undefined;
      }
    }
  }

  const INVISIBLE = /(?![\u200c\u200d])[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]/gu;
  /** @type {Record<string, string>} */
  const MARKED = { "\n": "↩", "\t": "→" };
  /** @param {string} character */
  const codePoint = (character) =>
    MARKED[character] ?? `⟨U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}⟩`;

  /**
   * Tokens in groups of whole characters; a token whose bytes form none is a group by itself.
   * @param {number[]} ids
   * @param {Vocabulary} vocabulary
   * @returns {TokenGroup[]}
   */
  function groups(ids, vocabulary) {
    /** @type {TokenGroup[]} */
    const found = [];
    /** @param {number} i */
    const single = (i) => found.push({ first: i, last: i, text: vocabulary.text[ids[i]] });
    let first = 0;
    /** @type {number[]} */
    let pending = [];
    ids.forEach((id, i) => {
      const bytes = vocabulary.bytes[id];
      const text = bytes ? decoded([...pending, ...bytes]) : undefined;
      if (bytes && text === null) {
        pending = [...pending, ...bytes];
      } else if (typeof text === "string") {
        found.push({ first, last: i, text: text.replace(INVISIBLE, codePoint) });
        [first, pending] = [i + 1, []];
      } else {
        for (; first < i; first++) single(first);
        pending = [];
        if (bytes && decoded(bytes) === null) {
          pending = bytes;
        } else {
          single(i);
          first = i + 1;
        }
      }
    });
    for (; first < ids.length; first++) single(first);
    return found;
  }

  /**
   * A feature's top context, cut short, which describes it in lists.
   * @param {FeatureTable} features
   * @param {number} index
   * @param {string} tag
   */
  function lineOf(features, index, tag) {
    const { element } = window.sitegen;
    const line = element(tag, { class: "context-line" }, features.before[index]);
    if (features.peak[index]) line.append(element("mark", {}, features.peak[index]));
    line.append(features.after[index]);
    return line;
  }

  /**
   * The reader's own label of a feature, else the first of the site's labels; empty without any.
   * @param {FeatureTable} features
   * @param {number} index
   */
  const labelOf = (features, index) =>
    window.sitegen.marks.of(features.feature_id[index]).label || features.labels[index]?.[0].label || "";

  Object.assign(window.sitegen, { lineOf, labelOf, percent, significant, grouped, shown, groups });
})();
