/** The page that asks what fires on a text: all features, the strongest of each token and of the whole. */
(() => {
  "use strict";

  const site = window.sitegen;
  const { element, ownText } = site;
  const AT_MOST = 50; // of the features of the whole text

  const frame = document.getElementById("active");
  if (!frame) return;

  const { area, status } = ownText.field("Your own text", "e");
  const start = element("button", { type: "button", class: "start" }, "Find active features");
  const progress = /** @type {HTMLProgressElement} */ (element("progress", { "aria-label": "Features looked at", hidden: "" }));
  const order = /** @type {HTMLSelectElement} */ (element("select", {}, element("option", { value: "share" }, "share of its maximum"), element("option", { value: "value" }, "activation")));
  const output = element("div", { class: "own-output" });
  const lists = element("div", { class: "active-lists" });
  frame.replaceChildren(area, element("p", { class: "actions" }, start, progress, element("label", {}, "strongest by ", order)), status, output, lists);
  status.textContent = "The model runs here, in your browser; what you type stays here. The first time it reads the encoder of all features.";

  /** @type {{ ids: number[], found: ActiveFeatures, features: FeatureTable } | undefined} */
  let shown;
  let chosen = 0;
  let running = false;
  let stop = false;

  /** @param {number} place @param {number} value @param {FeatureTable} features */
  const shareOf = (place, value, features) => value / (features.max_activation[place] || value);

  /**
   * A table of features on a token, or on the whole text.
   * @param {(Node | string)[]} title
   * @param {[number, number, number][]} rows [place, activation, token]
   * @param {boolean} several whether they are of several tokens
   */
  function listed(title, rows, several) {
    if (!shown) return element("section");
    const { ids, features } = shown;
    const heading = element("h2", {}, ...title);
    const section = element("section", {}, heading);
    if (!rows.length) section.append(element("p", { class: "note" }, "No feature is active here."));
    const body = document.createElement("tbody");
    for (const [place, value, token] of rows) {
      const id = features.feature_id[place];
      const label = site.labelOf(features, place);
      const known = element("td", { class: "strongest" }, ...(label ? [element("span", { class: "label" }, label), " "] : []), site.lineOf(features, place, "span"));
      body.append(
        element(
          "tr",
          {},
          element("th", { scope: "row" }, element("a", { href: ownText.linkTo(site.featureUrl(id), area.value) }, String(id))),
          element("td", { class: "number" }, site.significant(value)),
          element("td", { class: "number" }, site.percent(shareOf(place, value, features))),
          ...(several ? [element("td", { class: "promotes" }, element("code", {}, site.shown(ids[token], features.vocabulary)))] : []),
          known,
        ),
      );
    }
    /** @type {Record<string, string>} and their classes */
    const heads = { Feature: "", Activation: "number", "Of its maximum": "number", ...(several ? { On: "" } : {}), "Strongest on": "strongest" };
    const head = element("tr", {}, ...Object.entries(heads).map(([name, kind]) => element("th", { scope: "col", class: kind }, name)));
    const table = element("table", { class: "features" }, element("thead", {}, head), body);
    if (rows.length) section.append(element("div", { class: "table-frame", tabindex: "0", role: "region", "aria-label": heading.textContent ?? "" }, table));
    return section;
  }

  /** @param {[number, number, number][]} rows */
  function ordered(rows) {
    const features = shown?.features;
    if (!features) return [];
    /** @param {[number, number, number]} row */
    const weight = ([place, value]) => (order.value === "share" ? shareOf(place, value, features) : value);
    return [...rows].sort((one, other) => weight(other) - weight(one) || one[0] - other[0]).slice(0, AT_MOST);
  }

  function draw() {
    if (!shown) return;
    const { ids, found, features } = shown;
    /** @type {HTMLElement[]} */
    const onToken = [];
    if (ids.length) {
      const rows = found.strongest[chosen].map(([place, value]) => /** @type {[number, number, number]} */ ([place, value, chosen]));
      onToken.push(listed(["On ", element("code", {}, site.shown(ids[chosen], features.vocabulary)), ` at position ${chosen}`], ordered(rows), false));
    }
    lists.replaceChildren(
      ...onToken,
      listed(["Anywhere in the text"], ordered(found.active), true),
    );
    for (const token of output.querySelectorAll("button")) token.setAttribute("aria-pressed", String(Number(token.dataset.at) === chosen));
  }

  /** @param {number} at */
  function choose(at) {
    if (at === chosen) return;
    chosen = at;
    draw();
  }

  const run = ownText.newest(async () => {
    const text = area.value;
    running = true;
    stop = false;
    start.textContent = "Cancel";
    try {
      status.textContent = "Loading the model …";
      const [features, { ids, begin, isText, left }] = await Promise.all([site.features(), site.live.rowOf(text)]);
      const began = performance.now();
      const found = await site.live.strongest(
        ids,
        (done, of) => {
          progress.hidden = false;
          progress.max = of;
          progress.value = done;
          status.textContent = `${site.grouped(done)} of ${site.grouped(of)} features …`;
        },
        () => stop,
      );
      if (!found) {
        status.textContent = "Cancelled.";
        return;
      }
      shown = { ids, found, features };
      chosen = ids.length - 1;
      const most = found.strongest.map((list, token) => (isText[token] ? Math.max(0, ...list.map(([place, value]) => shareOf(place, value, features))) : 0));
      output.replaceChildren(ownText.tokenLine(ids, features.vocabulary, most, 1, choose));
      draw();
      const seconds = ((performance.now() - began) / 1000).toFixed(1);
      status.textContent = `${site.grouped(found.active.length)} of ${site.grouped(features.feature_id.length)} features are active on these ${ids.length - begin} tokens (${seconds} s). Point at a token, or go along with the arrows; colour: its strongest feature's share of that feature's maximum.${ownText.leftOut(left)}`;
      history.replaceState(null, "", ownText.linkTo(location.href, text));
      frame.dataset.ran = text;
    } catch (error) {
      status.textContent = `The model cannot run: ${site.reason(error)}.`;
    } finally {
      running = false;
      progress.hidden = true;
      start.textContent = "Find active features";
    }
  });

  start.addEventListener("click", () => {
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
    stop = true; // a search of the former text
    run(); // quick: the encoder is there by now
  });
  order.addEventListener("change", draw);
  frame.dataset.ready = "";
  if (ownText.textOf(location.hash) !== undefined) run();
})();
