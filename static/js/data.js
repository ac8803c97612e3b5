/**
 * Data that pages load when they need it: each file is a classic script with one call in it, since pages that are opened
 * from disk may fetch nothing.
 */
(() => {
  "use strict";

  /** @type {Record<string, (value: unknown) => void>} */
  const waiting = {};
  /** @type {Map<string, Promise<unknown>>} */
  const loaded = new Map();

  /**
   * The value that a data script hands over; it is loaded once.
   * @param {string} name of the call in the script
   * @param {string} url of the script, relative to the page
   * @returns {Promise<any>}
   */
  function load(name, url) {
    const known = loaded.get(url);
    if (known) return known;
    const promise = new Promise((resolve, reject) => {
      const script = document.createElement("script");
      waiting[name] = resolve;
      script.src = url;
      script.onerror = () => reject(new Error(`${url} cannot be read`));
      document.head.append(script);
    });
    loaded.set(url, promise);
    return promise;
  }

  /** @param {string} name */
  const receive = (name) => (/** @type {unknown} */ value) => waiting[name]?.(value);

  window.sitegen = {
    load,
    data: {
      evidence: receive("evidence"),
      vocabulary: receive("vocabulary"),
      map: receive("map"),
    },
  };
})();
