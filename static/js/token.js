/** The page of a token: every feature that fires on it, promotes it or suppresses it. */
(() => {
  "use strict";

  const site = window.sitegen;
  const { element } = site;
  const TOKENS_PER_FILE = 256;

  const frame = document.getElementById("token");
  const heading = document.querySelector("h1");
  if (!frame || !heading) return;

  /**
   * @param {string} title
   * @param {string} measure
   * @param {number[]} postings place, number, place, number …
   * @param {FeatureTable} features
   */
  function listed(title, measure, postings, features) {
    /** @type {[number, number][]} */
    const rows = [];
    for (let at = 0; at < postings.length; at += 2) rows.push([postings[at], postings[at + 1]]);
    rows.sort((one, other) => Math.abs(other[1]) - Math.abs(one[1]) || one[0] - other[0]);
    const section = element("section", {}, element("h2", {}, `${title} `, element("small", {}, `${site.grouped(rows.length)} ${rows.length === 1 ? "feature" : "features"}`)));
    if (!rows.length) return section;
    const body = document.createElement("tbody");
    const head = element("tr", {}, element("th", { scope: "col" }, "Feature"), element("th", { scope: "col", class: "number" }, measure), element("th", { scope: "col" }, "Strongest on"));
    for (const [place, value] of rows) {
      const id = features.feature_id[place];
      const label = site.labelOf(features, place);
      body.append(
        element(
          "tr",
          {},
          element("th", { scope: "row" }, element("a", { href: site.featureUrl(id) }, String(id))),
          element("td", { class: "number" }, Number.isInteger(value) && measure.endsWith("contexts") ? String(value) : site.significant(value)),
          element("td", {}, ...(label ? [element("span", { class: "label" }, label)] : []), site.lineOf(features, place, "p")),
        ),
      );
    }
    section.append(element("div", { class: "table-frame" }, element("table", { class: "features" }, element("thead", {}, head), body)));
    return section;
  }

  async function show() {
    const id = parseInt(new URLSearchParams(location.search).get("id") ?? "", 10);
    if (!frame || !heading) return;
    try {
      const features = await site.features();
      const { vocabulary } = features;
      if (!Number.isInteger(id) || !(id in vocabulary.text)) {
        frame.replaceChildren(element("p", {}, "No token is asked for here: search for one above."));
        return;
      }
      /** @type {TokenPostings} */
      const postings = await site.load(`tokens/${Math.floor(id / TOKENS_PER_FILE)}`);
      const name = site.shown(id, vocabulary);
      document.title = document.title.replace(/^[^·]*/, () => `Token ${name} `);
      heading.replaceChildren("Token ", element("code", {}, name));
      frame.replaceChildren(
        element("p", { class: "lead" }, `Id ${id} of ${site.grouped(vocabulary.text.length)}. Features that have a strongest context which peaks on it, and those among whose largest or smallest logit effects it is.`),
        element(
          "div",
          { class: "token-lists" },
          listed("Active on it", "strongest contexts", postings.active[id] ?? [], features),
          listed("Promotes it", "logit effect", postings.promotes[id] ?? [], features),
          listed("Suppresses it", "logit effect", postings.suppresses[id] ?? [], features),
        ),
      );
      frame.dataset.ready = "";
    } catch (error) {
      frame.replaceChildren(element("p", { role: "status" }, `The token's features cannot be shown: ${site.reason(error)}.`));
    }
  }

  show();
})();
