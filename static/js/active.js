/** The page that shows which features are active on a reader's text: at each token, and anywhere in the text. */
(() => {
  "use strict";

  const site = window.sitegen;
  const { element, ownText } = site;
  // Features listed for the whole text
  const AT_MOST = 50;
  const START = "Find active features";

  const frame = document.getElementById("active");
  if (!frame) return;

  /** @typedef {{ index: number, value: number, token: number }} Row a feature and its activation on a token */

  const { area, status } = ownText.field("Your own text", "e");
  const button = element("button", { type: "button", class: "start" }, START);
  const progress = /** @type {HTMLProgressElement} */ (
    element("progress", { "aria-label": "Features computed", hidden: "" })
  );
  const order = /** @type {HTMLSelectElement} */ (
    element(
      "select",
      {},
      element("option", { value: "share" }, "share of the feature's maximum"),
      element("option", { value: "value" }, "activation"),
    )
  );
  const output = element("div", { class: "own-output" });
  const lists = element("div", { class: "active-lists" });
  const actions = element("p", { class: "actions" }, button, progress, element("label", {}, "Sort by ", order));
  frame.replaceChildren(area, actions, status, output, lists);
  status.textContent =
    "The model runs in your browser, and your text stays there. The first search loads the encoder of all features.";

  /** @type {{ ids: number[], found: ActiveFeatures, features: FeatureTable } | undefined} */
  let shown;
  let chosen = 0;
  let running = false;
  let stop = false;

  /** @param {number} index @param {number} value @param {FeatureTable} features */
  const shareOf = (index, value, features) => value / (features.max_activation[index] || value);

  /**
   * A table of features, the strongest first.
   * @param {(Node | string)[]} title
   * @param {Row[]} rows
   * @param {boolean} withTokens whether the rows are on several tokens, which are then shown
   */
  function listed(title, rows, withTokens) {
    const heading = element("h2", {}, ...title);
    const section = element("section", {}, heading);
    if (!shown) return section;
    const { ids, features } = shown;
    /** @type {TableColumn<Row>[]} */
    const columns = [
      { title: "Feature", cell: ({ index }) => [linkTo(features.feature_id[index])] },
      { title: "Activation", class: "number", cell: ({ value }) => [site.significant(value)] },
      {
        title: "Share of maximum",
        class: "number",
        cell: ({ index, value }) => [site.percent(shareOf(index, value, features))],
      },
      { title: "Top context", class: "strongest", cell: ({ index }) => site.table.description(features, index) },
    ];
    if (withTokens) {
      const cell = (/** @type {Row} */ { token }) => [element("code", {}, site.shown(ids[token], features.vocabulary))];
      columns.splice(3, 0, { title: "On token", class: "promotes", cell });
    }
    section.append(
      rows.length
        ? site.table.framed(columns, ordered(rows, features), heading.textContent ?? "")
        : element("p", { class: "note" }, "No feature is active here."),
    );
    return section;
  }

  /**
   * A link to a feature's page, with the text in it.
   * @param {number} featureId
   */
  const linkTo = (featureId) =>
    element("a", { href: ownText.linkTo(site.featureUrl(featureId), area.value) }, String(featureId));

  /**
   * @param {Row[]} rows
   * @param {FeatureTable} features
   */
  function ordered(rows, features) {
    /** @param {Row} row */
    const weight = ({ index, value }) => (order.value === "share" ? shareOf(index, value, features) : value);
    return [...rows].sort((one, other) => weight(other) - weight(one) || one.index - other.index).slice(0, AT_MOST);
  }

  function draw() {
    if (!shown) return;
    const { ids, found, features } = shown;
    /** @type {HTMLElement[]} */
    const onToken = [];
    if (ids.length) {
      const rows = found.strongest[chosen].map(([index, value]) => ({ index, value, token: chosen }));
      const name = element("code", {}, site.shown(ids[chosen], features.vocabulary));
      onToken.push(listed(["On ", name, ` at position ${chosen}`], rows, false));
    }
    const anywhere = found.active.map(([index, value, token]) => ({ index, value, token }));
    lists.replaceChildren(...onToken, listed(["Anywhere in the text"], anywhere, true));
    for (const token of output.querySelectorAll("button")) {
      token.setAttribute("aria-pressed", String(Number(token.dataset.at) === chosen));
    }
  }

  /** @param {number} at */
  function choose(at) {
    if (at === chosen) return;
    chosen = at;
    draw();
  }

  /**
   * @param {number} done
   * @param {number} of
   */
  function showProgress(done, of) {
    progress.hidden = false;
    progress.max = of;
    progress.value = done;
    status.textContent = `${site.grouped(done)} of ${site.grouped(of)} features …`;
  }

  /**
   * Computes all features on a text and shows them; false if that was cancelled.
   * @param {string} text
   */
  async function search(text) {
    status.textContent = "Loading the model …";
    const [features, { ids, begin, isText, left }] = await Promise.all([site.features(), site.live.rowOf(text)]);
    const began = performance.now();
    const found = await site.live.strongest(ids, showProgress, () => stop);
    if (!found) {
      status.textContent = "Cancelled.";
      return false;
    }
    shown = { ids, found, features };
    chosen = ids.length - 1;
    // The colour of a token: its strongest feature's share of that feature's maximum
    const heat = found.strongest.map((list, token) =>
      isText[token] ? Math.max(0, ...list.map(([index, value]) => shareOf(index, value, features))) : 0,
    );
    output.replaceChildren(ownText.tokenLine(ids, features.vocabulary, heat, 1, choose));
    draw();
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    const nFound = `${site.grouped(found.active.length)} of ${site.grouped(features.feature_id.length)}`;
    status.textContent =
      `${nFound} features are active on these ${ids.length - begin} tokens (${seconds} s). Point at a token or move ` +
      `with the arrow keys. A token's colour is the largest share of a feature's maximum.${ownText.leftOut(left)}`;
    history.replaceState(null, "", ownText.linkTo(location.href, text));
    return true;
  }

  const run = ownText.newest(async () => {
    const text = area.value;
    running = true;
    stop = false;
    button.textContent = "Cancel";
    try {
      if (await search(text)) frame.dataset.ran = text;
    } catch (error) {
      status.textContent = `The model cannot run: ${site.reason(error)}.`;
    } finally {
      running = false;
      progress.hidden = true;
      button.textContent = START;
    }
  });

  button.addEventListener("click", () => {
    if (running) stop = true;
    else run();
  });
  area.addEventListener("keydown", (event) => {
    if (event.key === "Escape") area.blur();
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      run();
    }
  });
  area.addEventListener("input", () => {
    if (!shown) return;
    // Stops the search on the former text; the new one is quick, since the encoder is loaded by now
    stop = true;
    run();
  });
  order.addEventListener("change", draw);
  frame.dataset.ready = "";
  if (ownText.textOf(location.hash) !== undefined) run();
})();
