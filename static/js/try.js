/** On a feature's page: a text of the reader's own, and the feature's activation on each of its tokens as one types. */
(() => {
  "use strict";

  const site = window.sitegen;
  const { element, ownText } = site;

  const section = document.querySelector("section.try");
  if (!(section instanceof HTMLElement)) return;
  const place = Number(section.dataset.place);
  const usual = Number(section.dataset.maximum);

  const { area, status } = ownText.field("Your own text", "e");
  const output = element("div", { class: "own-output" });
  const pointed = element("p", { class: "note pointed" });
  const limit = /** @type {HTMLInputElement} */ (element("input", { type: "number", min: "0", step: "any", placeholder: site.significant(usual), "aria-label": "Maximum of the colours" }));
  const copy = site.copier("Copy link", () => ownText.linkTo(location.href, area.value));
  const elsewhere = /** @type {HTMLAnchorElement} */ (element("a", {}, "What else is active here?"));
  section.append(area, output, pointed, status, element("p", { class: "actions" }, element("label", {}, "Colours up to ", limit), copy, elsewhere));
  status.textContent = "Choose the text to change it. The model then runs here, in your browser; what you type stays here.";
  section.dataset.ready = "";

  /** @type {{ ids: number[], values: number[], vocabulary: Vocabulary } | undefined} */
  let shown;

  function draw() {
    elsewhere.href = ownText.linkTo(`${site.root}active.html`, area.value);
    if (!shown) return;
    const { ids, values, vocabulary } = shown;
    const maximum = Number(limit.value) > 0 ? Number(limit.value) : usual;
    output.replaceChildren(ownText.tokenLine(ids, vocabulary, values, maximum, tell));
  }

  /** @param {number} at */
  function tell(at) {
    if (!shown) return;
    const { ids, values, vocabulary } = shown;
    pointed.replaceChildren(...ownText.named(ids, at, vocabulary), `: activation ${site.significant(values[at])}`);
  }

  const run = ownText.newest(async () => {
    const text = area.value;
    try {
      const [vocabulary, { ids, begin, isText, left }] = await Promise.all([site.load("vocabulary"), site.live.rowOf(text)]);
      const values = await site.live.activations(place, ids, (done, of) => {
        status.textContent = `Loading the model: ${done} of ${of} files …`;
      });
      shown = { ids, values, vocabulary };
      pointed.textContent = "";
      draw();
      const onText = values.map((value, token) => (isText[token] ? value : 0));
      const most = Math.max(0, ...onText);
      const on = onText.indexOf(most);
      const strongest = most > 0 ? [`: 0 to ${site.significant(most)}, most on `, ...ownText.named(ids, on, vocabulary), "."] : [": the feature is silent."];
      status.replaceChildren(`${ids.length - begin} tokens${begin ? " behind BOS" : ""}`, ...strongest, ownText.leftOut(left));
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
