/**
 * The one global of the site's scripts: data files that pages load on demand, and small functions that widgets share.
 * A data file is a classic script with a single call in it, since a page opened from disk may not fetch files. Its value
 * is JSON, or compressed JSON as text (sitegen/render/packing.py).
 */
(() => {
  "use strict";

  const own = document.currentScript;
  const root = new URL("../", own instanceof HTMLScriptElement ? own.src : location.href).href;
  /** @type {Map<string, (value: unknown) => void>} */
  const waiting = new Map();
  /** @type {Map<string, Promise<any>>} */
  const loaded = new Map();

  /**
   * @param {string} name of a file below load/, without its ending
   * @param {boolean} [keep] the value for later calls
   * @returns {Promise<any>}
   */
  function load(name, keep = true) {
    const known = loaded.get(name);
    if (known) return known;
    const promise = new Promise((resolve, reject) => {
      const script = document.createElement("script");
      const missing = () => reject(new Error(`load/${name}.js cannot be read`));
      waiting.set(name, resolve);
      script.onerror = missing;
      script.onload = () => {
        script.remove();
        if (waiting.has(name)) missing();
        if (!keep) loaded.delete(name);
      };
      script.src = `${root}load/${name}.js`;
      document.head.append(script);
    });
    loaded.set(name, promise);
    // A later attempt may succeed
    promise.catch(() => loaded.delete(name));
    return promise;
  }

  /**
   * @param {string} name
   * @param {unknown} value
   */
  function data(name, value) {
    waiting.get(name)?.(value);
    waiting.delete(name);
  }

  /**
   * @param {string} name
   * @param {number} length of the compressed JSON in bytes
   * @param {string} text
   */
  function packed(name, length, text) {
    if (waiting.has(name)) data(name, unpacked(length, text));
  }

  /**
   * @param {number} length
   * @param {string} text
   */
  async function unpacked(length, text) {
    if (typeof DecompressionStream === "undefined") {
      throw new Error(
        "this browser cannot decompress the site's data, which Chrome 80, Firefox 113, Safari 16.4 and later can",
      );
    }
    const stream = new DecompressionStream("deflate");
    const writer = stream.writable.getWriter();
    // Errors of damaged data arrive where the stream is read
    writer.write(bytesOf(length, text)).catch(() => undefined);
    writer.close().catch(() => undefined);
    return new Response(stream.readable).json();
  }

  /**
   * The bytes that a text stands for, some bits in each of its characters.
   * @param {number} length
   * @param {string} text
   */
  function bytesOf(length, text) {
    const { first_character, character_bits } = window.sitegen.sizes;
    const bytes = new Uint8Array(length);
    let at = 0;
    // Bits that are not yet part of a byte, and their number
    let held = 0;
    let n = 0;
    for (let i = 0; at < length; i++) {
      held = (held << character_bits) | (text.charCodeAt(i) - first_character);
      n += character_bits;
      while (n >= 8 && at < length) {
        n -= 8;
        bytes[at++] = held >> n;
      }
      held &= (1 << n) - 1;
    }
    return bytes;
  }

  /** @param {unknown} error */
  const reason = (error) => (error instanceof Error ? error.message : String(error));

  /** @returns {Promise<void>} */
  const pause = () => new Promise((resolve) => setTimeout(resolve));

  /**
   * An element with attributes and children.
   * @param {string} tag
   * @param {Record<string, string>} [attributes]
   * @param {...(Node | string)} children
   */
  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  /**
   * Copies a text to the clipboard. The older command serves where the Clipboard API is refused, as on pages from disk.
   * @param {string} text
   */
  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = document.createElement("textarea");
      area.value = text;
      area.className = "visually-hidden";
      document.body.append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      if (!done) throw new Error("this browser gives no access to the clipboard");
    }
  }

  /**
   * A button that copies a text to the clipboard and shows whether it succeeded.
   * @param {string} name
   * @param {() => string} text
   * @param {Record<string, string>} [attributes]
   */
  function copier(name, text, attributes) {
    const button = element("button", { type: "button", ...attributes }, name);
    button.addEventListener("click", async () => {
      try {
        await copy(text());
        button.textContent = "Copied";
      } catch (error) {
        button.textContent = reason(error);
      }
      setTimeout(() => (button.textContent = name), 1500);
    });
    return button;
  }

  /**
   * @param {HTMLElement} card
   * @param {Element} beside
   */
  function putBeside(card, beside) {
    const box = beside.getBoundingClientRect();
    const below = box.bottom + card.offsetHeight + 8 < window.innerHeight;
    const left = Math.max(8, Math.min(box.left, document.documentElement.clientWidth - card.offsetWidth - 8));
    card.style.left = `${left + window.scrollX}px`;
    card.style.top = `${(below ? box.bottom + 6 : Math.max(8, box.top - card.offsetHeight - 6)) + window.scrollY}px`;
  }

  /** Holds the contexts of a feature's page; null on other pages. */
  const columns = /** @type {HTMLElement | null} */ (document.querySelector(".feature-columns"));
  const featureId = columns && Number(document.querySelector("h1")?.textContent?.replace(/\D/g, ""));

  /**
   * @param {Element | null} line of a context
   * @returns {ContextSpan} its end may lie behind the row's
   */
  function spanOf(line) {
    // The location stands behind the line
    const [row, position] = numbers(line?.nextSibling?.textContent ?? "", "/");
    const [before, after] = numbers(columns?.dataset.window ?? "", " ");
    return { row, position, start: Math.max(0, position - before), end: position + after + 1 };
  }

  /**
   * @param {string} text
   * @param {string} separator
   */
  const numbers = (text, separator) => text.split(separator).map((part) => parseInt(part, 10));

  Object.assign(window.sitegen, {
    root,
    load,
    data,
    packed,
    reason,
    pause,
    element,
    copier,
    putBeside,
    spanOf,
    columns,
    featureId,
  });
})();
