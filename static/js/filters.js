/** Filters of the list of all features: their state, the address that keeps it, and the form that sets it. */
(() => {
  "use strict";

  const site = window.sitegen;
  const { element } = site;

  /**
   * The state that an address asks for. Densities are in percent.
   * @param {URLSearchParams} given
   * @returns {ListState}
   */
  function stateOf(given) {
    /**
     * @param {string} name
     * @param {number} otherwise
     */
    const number = (name, otherwise) =>
      given.has(name) && Number.isFinite(Number(given.get(name))) ? Number(given.get(name)) : otherwise;
    const q = given.get("q")?.trim() ?? "";
    return {
      q,
      kind: given.get("kind") ?? "",
      low: number("low", 0),
      high: number("high", 100),
      maximum: number("maximum", 0),
      rare: number("rare", -1),
      starred: given.has("starred"),
      labelled: given.has("labelled"),
      // "" sorts by how well features match the query
      sort: given.get("sort") ?? (q ? "" : "feature"),
      down: given.has("down"),
    };
  }

  /**
   * The address that asks for a state; what is as usual is left out.
   * @param {ListState} state
   */
  function addressOf(state) {
    const usual = stateOf(new URLSearchParams(state.q ? { q: state.q } : {}));
    const given = new URLSearchParams();
    for (const [name, value] of Object.entries(state)) {
      const same = name === "q" ? !value : value === usual[/** @type {keyof ListState} */ (name)];
      if (!same) given.set(name, typeof value === "boolean" ? "1" : String(value));
    }
    const query = given.toString();
    return query ? `?${query}` : location.pathname;
  }

  /**
   * Whether a feature passes all filters but the query.
   * @param {FeatureTable} features
   * @param {number} index
   * @param {ListState} state
   */
  function accepts(features, index, state) {
    const density = 100 * features.density[index];
    if (state.kind && features.kinds[features.kind[index]] !== state.kind) return false;
    if (density < state.low || density > state.high) return false;
    if (state.maximum && features.max_activation[index] < state.maximum) return false;
    if (state.rare > -1 && (features.rare_cosine[index] ?? -1) < state.rare) return false;
    if (state.starred && !site.marks.of(features.feature_id[index]).starred) return false;
    return !state.labelled || site.labelOf(features, index) !== "";
  }

  /**
   * The form that changes a state.
   * @param {ListState} state
   * @param {string[]} kinds
   * @param {() => void} update called after each change
   */
  function form(state, kinds, update) {
    const made = element("form", { class: "filters", "aria-label": "Filter" });
    made.addEventListener("submit", (event) => event.preventDefault());
    const decimal = { inputmode: "decimal", size: "6" };
    made.append(
      labelled("Token, label or word", queryField(state, update)),
      labelled("Kind", kindField(state, kinds, update)),
      labelled("Density from %", numberField(state, "low", decimal, update)),
      labelled("to %", numberField(state, "high", decimal, update)),
      labelled("Max activation from", numberField(state, "maximum", decimal, update)),
      labelled("Rare cosine from", numberField(state, "rare", { inputmode: "text", size: "6" }, update)),
      checkBox(state, "starred", update),
      checkBox(state, "labelled", update),
      exchange(),
    );
    return made;
  }

  /**
   * @param {string} title
   * @param {HTMLElement} control
   */
  const labelled = (title, control) => element("label", {}, element("span", {}, title), control);

  /**
   * @param {Record<string, string>} attributes
   * @param {string} value
   * @param {(text: string) => void} changed
   */
  function textField(attributes, value, changed) {
    const input = /** @type {HTMLInputElement} */ (element("input", { autocomplete: "off", ...attributes }));
    input.value = value;
    input.addEventListener("input", () => changed(input.value));
    return input;
  }

  /**
   * @param {ListState} state
   * @param {() => void} update
   */
  function queryField(state, update) {
    const name = "Filter by token, label or word";
    const attributes = { type: "search", "data-key": "f", "aria-keyshortcuts": "f", "aria-label": name };
    return textField(attributes, state.q, (text) => {
      const query = text.trim();
      // The first letter sorts by match, an emptied field by feature again, unless the reader chose a column
      if (!state.q && query && state.sort === "feature") state.sort = "";
      if (!query && !state.sort) state.sort = "feature";
      state.q = query;
      update();
    });
  }

  /**
   * @param {ListState} state
   * @param {"low" | "high" | "maximum" | "rare"} name
   * @param {Record<string, string>} attributes
   * @param {() => void} update
   */
  function numberField(state, name, attributes, update) {
    const usual = stateOf(new URLSearchParams())[name];
    return textField(attributes, state[name] === usual ? "" : String(state[name]), (text) => {
      const value = Number(text.replace(",", "."));
      state[name] = text && Number.isFinite(value) ? value : usual;
      update();
    });
  }

  /**
   * @param {ListState} state
   * @param {string[]} kinds
   * @param {() => void} update
   */
  function kindField(state, kinds, update) {
    const select = /** @type {HTMLSelectElement} */ (element("select"));
    for (const name of ["", ...kinds]) select.append(new Option(name || "all", name, false, name === state.kind));
    select.addEventListener("change", () => {
      state.kind = select.value;
      update();
    });
    return select;
  }

  /**
   * @param {ListState} state
   * @param {"starred" | "labelled"} name
   * @param {() => void} update
   */
  function checkBox(state, name, update) {
    const input = /** @type {HTMLInputElement} */ (element("input", { type: "checkbox" }));
    input.checked = state[name];
    input.addEventListener("change", () => {
      state[name] = input.checked;
      update();
    });
    return element("label", { class: "box" }, input, name);
  }

  /** Buttons that write the reader's stars and labels to a labels file, and read one. */
  function exchange() {
    const note = element("small", { role: "status" });
    const write = element("button", { type: "button", title: "Save your stars and labels as a file" }, "Export labels");
    write.addEventListener("click", () => {
      const file = new Blob([site.marks.exported()], { type: "application/json" });
      element("a", { download: "labels.json", href: URL.createObjectURL(file) }).click();
      note.textContent = `Exported: ${site.grouped(site.marks.all().size)}.`;
    });
    const attributes = { accept: ".json,application/json", class: "visually-hidden", "aria-label": "Labels file" };
    const chosen = /** @type {HTMLInputElement} */ (element("input", { type: "file", ...attributes, tabindex: "-1" }));
    const read = element("button", { type: "button", title: "Add stars and labels from a file" }, "Import");
    read.addEventListener("click", () => chosen.click());
    chosen.addEventListener("change", async () => {
      const file = chosen.files?.[0];
      if (!file) return;
      note.textContent = await imported(file);
      chosen.value = "";
    });
    return element("span", { class: "exchange" }, write, read, chosen, note);
  }

  /**
   * Reads a labels file; returns a sentence on the outcome.
   * @param {File} file
   */
  async function imported(file) {
    try {
      const { taken, skipped } = site.marks.imported(await file.text());
      const rest = skipped ? `, ${site.grouped(skipped)} skipped as invalid` : "";
      return `Imported: ${site.grouped(taken)}${rest}. ${site.marks.trouble()}`;
    } catch (error) {
      return `${file.name} is not a labels file: ${site.reason(error)}.`;
    }
  }

  site.filters = { stateOf, addressOf, accepts, form };
})();
