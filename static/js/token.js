/** The page of a token: every feature that is active on it, promotes it or suppresses it. */
(() => {
  "use strict";

  const site = window.sitegen;
  const { element } = site;

  const frame = document.getElementById("token");
  const heading = document.querySelector("h1");
  if (!frame || !heading) return;

  /**
   * A list of features, those with the largest numbers first.
   * @param {string} title
   * @param {string} measure what the numbers are
   * @param {number[]} postings index, number, index, number …
   * @param {FeatureTable} features
   * @param {(value: number) => string} format
   */
  function listed(title, measure, postings, features, format) {
    /** @type {[number, number][]} */
    const rows = [];
    for (let at = 0; at < postings.length; at += 2) rows.push([postings[at], postings[at + 1]]);
    rows.sort((one, other) => Math.abs(other[1]) - Math.abs(one[1]) || one[0] - other[0]);
    const count = `${site.grouped(rows.length)} ${rows.length === 1 ? "feature" : "features"}`;
    const section = element("section", {}, element("h2", {}, `${title} `, element("small", {}, count)));
    /** @type {TableColumn<[number, number]>[]} */
    const columns = [
      { title: "Feature", cell: ([index]) => [site.linkTo(features.feature_id[index])] },
      { title: measure, class: "number", cell: ([, value]) => [format(value)] },
      { title: "Top context", cell: ([index]) => site.table.description(features, index) },
    ];
    if (rows.length) section.append(site.table.framed(columns, rows, title));
    return section;
  }

  /** @param {number} id */
  async function listsOf(id) {
    const features = await site.features();
    const { vocabulary } = features;
    if (!Number.isInteger(id) || !(id in vocabulary.text)) {
      return [element("p", {}, "No token is selected. Search for one above.")];
    }
    /** @type {TokenPostings} */
    const { active, promotes, suppresses } = await site.load(`tokens/${Math.floor(id / site.sizes.tokens_per_file)}`);
    const name = site.shown(id, vocabulary);
    document.title = document.title.replace(/^[^·]*/, () => `Token ${name} `);
    heading?.replaceChildren("Token ", element("code", {}, name));
    const lead =
      `Token ${id} of ${site.grouped(vocabulary.text.length)}. Listed are the features with a top activating context ` +
      "that peaks on it, and those with it among their largest or smallest logit effects.";
    return [
      element("p", { class: "lead" }, lead),
      element(
        "div",
        { class: "token-lists" },
        listed("Active on this token", "Contexts", active[id] ?? [], features, String),
        listed("Promote this token", "Logit effect", promotes[id] ?? [], features, site.significant),
        listed("Suppress this token", "Logit effect", suppresses[id] ?? [], features, site.significant),
      ),
    ];
  }

  const id = parseInt(new URLSearchParams(location.search).get("id") ?? "", 10);
  listsOf(id).then(
    (parts) => {
      frame.replaceChildren(...parts);
      if (frame.querySelector(".token-lists")) frame.dataset.ready = "";
    },
    (error) => {
      const problem = `The features of this token cannot be shown: ${site.reason(error)}.`;
      frame.replaceChildren(element("p", { role: "status" }, problem));
    },
  );
})();
