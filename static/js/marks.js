/** A reader's own stars and labels: kept in this browser, written to a labels file and read from one. */
(() => {
  "use strict";

  const key = `sitegen:${document.documentElement.dataset.site}:marks`;
  const MINE = "me";
  const LONGEST = 500; // characters of a label, as build.py takes them
  let trouble = "";

  /** @returns {Map<number, Mark>} */
  function read() {
    try {
      const kept = JSON.parse(localStorage.getItem(key) ?? "{}");
      return new Map(Object.entries(kept).map(([id, mark]) => [Number(id), mark]));
    } catch (error) {
      trouble = `Stars and labels cannot be read: ${window.sitegen.reason(error)}.`;
      return new Map();
    }
  }

  const known = read();

  function keep() {
    try {
      localStorage.setItem(key, JSON.stringify(Object.fromEntries(known)));
      trouble = "";
    } catch {
      trouble = "This browser keeps nothing for this site: what you note is gone when you leave the page.";
    }
    document.dispatchEvent(new Event("sitegen:marks"));
  }

  /** @param {number} featureId */
  const of = (featureId) => known.get(featureId) ?? { starred: false, label: "" };

  /**
   * @param {number} featureId
   * @param {Mark} mark
   */
  function set(featureId, mark) {
    if (mark.starred || mark.label) known.set(featureId, mark);
    else known.delete(featureId);
    keep();
  }

  function exported() {
    const labels = [...known]
      .sort(([one], [other]) => one - other)
      .map(([feature, mark]) => ({ feature, label: mark.label, author: MINE, starred: mark.starred }));
    return JSON.stringify({ labels }, null, 1);
  }

  /** @param {string} text */
  function imported(text) {
    const value = JSON.parse(text);
    const entries = Array.isArray(value) ? value : value?.labels;
    if (!Array.isArray(entries)) throw new Error("it holds no list of labels");
    let taken = 0;
    for (const entry of entries) {
      const given = entry?.feature ?? entry?.feature_id;
      const feature = typeof given === "string" && given ? Number(given) : given;
      const label = typeof entry?.label === "string" ? entry.label.trim().slice(0, LONGEST) : "";
      const starred = entry?.starred === true;
      if (!Number.isSafeInteger(feature) || feature < 0 || !(label || starred)) continue;
      const own = of(feature); // what the reader has noted stays
      known.set(feature, { starred: own.starred || starred, label: own.label || label });
      taken++;
    }
    keep();
    return { taken, left: entries.length - taken };
  }

  window.addEventListener("storage", (event) => {
    if (event.key !== key) return;
    known.clear();
    for (const [id, mark] of read()) known.set(id, mark);
    document.dispatchEvent(new Event("sitegen:marks"));
  });

  window.sitegen.marks = { all: () => known, of, set, exported, imported, trouble: () => trouble };
})();
