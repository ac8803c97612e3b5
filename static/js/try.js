/** On a feature's page: the feature's activation on each token of a text that the reader types. */
(() => {
  "use strict";

  const site = window.sitegen;
  const { element, ownText } = site;

  const section = document.querySelector("section.try");
  if (!(section instanceof HTMLElement)) return;
  // Among the features of the data, where that is not the feature's number
  const index = Number(section.dataset.index ?? site.featureId);
  const usual = Number(site.columns?.style.getPropertyValue("--max"));

  const { area, status } = ownText.field("Your own text", "e");
  const output = element("div", { class: "own-output" });
  const pointed = element("p", { class: "note pointed" });
  const limit = /** @type {HTMLInputElement} */ (
    element("input", {
      type: "number",
      min: "0",
      step: "any",
      placeholder: site.significant(usual),
      "aria-label": "Maximum of the colour scale",
    })
  );
  const copy = site.copier("Copy link", () => ownText.linkTo(location.href, area.value));
  const elsewhere = /** @type {HTMLAnchorElement} */ (element("a", {}, "All features active on this text"));
  section.append(
    area,
    output,
    pointed,
    status,
    element("p", { class: "actions" }, element("label", {}, "Colour scale up to ", limit), copy, elsewhere),
  );
  status.textContent =
    "Edit the text to see the feature's activation on it. The model runs in your browser, and your text stays there.";
  section.dataset.ready = "";

  /** @type {{ ids: number[], values: number[], vocabulary: Vocabulary } | undefined} */
  let shown;

  function draw() {
    elsewhere.href = ownText.linkTo(`${site.root}active.html`, area.value);
    if (!shown) return;
    const { ids, values, vocabulary } = shown;
    const maximum = Number(limit.value) > 0 ? Number(limit.value) : usual;
    output.replaceChildren(ownText.tokenLine(ids, vocabulary, values, maximum, showToken));
  }

  /** @param {number} at */
  function showToken(at) {
    if (!shown) return;
    const { ids, values, vocabulary } = shown;
    pointed.replaceChildren(...ownText.named(ids, at, vocabulary), `: activation ${site.significant(values[at])}`);
  }

  const run = ownText.newest(async () => {
    const text = area.value;
    try {
      const [vocabulary, { ids, begin, isText, left }] = await Promise.all([
        site.load("vocabulary"),
        site.live.rowOf(text),
      ]);
      const values = await site.live.activations(index, ids, (done, of) => {
        status.textContent = `Loading the model: ${done} of ${of} files …`;
      });
      shown = { ids, values, vocabulary };
      pointed.textContent = "";
      draw();
      const onText = values.map((value, token) => (isText[token] ? value : 0));
      const most = Math.max(0, ...onText);
      const on = onText.indexOf(most);
      const outcome =
        most > 0
          ? [`largest activation ${site.significant(most)} on `, ...ownText.named(ids, on, vocabulary), "."]
          : ["the feature is inactive."];
      const count = `${ids.length - begin} tokens${begin ? " after BOS" : ""}: `;
      status.replaceChildren(count, ...outcome, ownText.leftOut(left));
      section.dataset.ran = text;
    } catch (error) {
      shown = undefined;
      output.replaceChildren();
      status.textContent = `The model cannot run: ${site.reason(error)}.`;
    }
  });

  /** @param {string} text */
  function put(text) {
    area.value = text;
    draw();
    area.scrollIntoView({ block: "center" });
    area.focus();
    run();
  }

  area.addEventListener("focus", () => !shown && run());
  area.addEventListener("input", () => {
    draw();
    run();
  });
  area.addEventListener("keydown", (event) => event.key === "Escape" && area.blur());
  limit.addEventListener("input", draw);
  function follow() {
    const text = ownText.textOf(location.hash);
    if (text !== undefined) put(text);
  }
  window.addEventListener("hashchange", follow);
  draw();
  follow();

  site.tryText = put;
})();
