/** A reader's own stars and labels, saved in this browser; they can be exported to a labels file and imported. */
(() => {
  "use strict";

  const key = `sitegen:${document.documentElement.dataset.site}:marks`;
  const MINE = "me";
  let trouble = "";

  /** @returns {Map<number, Mark>} */
  function read() {
    try {
      const kept = JSON.parse(localStorage.getItem(key) ?? "{}");
      return new Map(Object.entries(kept).map(([id, mark]) => [Number(id), mark]));
    } catch (error) {
      trouble = `Your stars and labels cannot be read: ${window.sitegen.reason(error)}.`;
      return new Map();
    }
  }

  const known = read();

  function keep() {
    try {
      localStorage.setItem(key, JSON.stringify(Object.fromEntries(known)));
      trouble = "";
    } catch {
      trouble = "This browser does not save data of this site: your star and label are lost when you leave the page.";
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
    if (!Array.isArray(entries)) throw new Error("it contains no list of labels");
    let taken = 0;
    for (const entry of entries) {
      const given = entry?.feature ?? entry?.feature_id;
      const feature = typeof given === "string" && given ? Number(given) : given;
      const label =
        typeof entry?.label === "string" ? entry.label.trim().slice(0, window.sitegen.sizes.longest_label) : "";
      const starred = entry?.starred === true;
      if (!Number.isSafeInteger(feature) || feature < 0 || !(label || starred)) continue;
      // The reader's own notes are kept
      const own = of(feature);
      known.set(feature, { starred: own.starred || starred, label: own.label || label });
      taken++;
    }
    keep();
    return { taken, skipped: entries.length - taken };
  }

  window.addEventListener("storage", (event) => {
    if (event.key !== key) return;
    known.clear();
    for (const [id, mark] of read()) known.set(id, mark);
    document.dispatchEvent(new Event("sitegen:marks"));
  });

  window.sitegen.marks = { all: () => known, of, set, exported, imported, trouble: () => trouble };
})();
