/** The index as one list of all features: sorted and filtered at once, its state in the address. */
(() => {
  "use strict";

  const site = window.sitegen;
  const { element } = site;
  const SPARE_ROWS = 12; // drawn above and below the window
  const KINDS = ["dead", "rare", "ordinary", "dense"];

  const pages = document.getElementById("feature-list");
  if (!pages) return;

  /**
   * A column that can be sorted by.
   * @typedef {{name: string, title: string, numeric: boolean, value: (place: number) => number | string}} Column
   */

  /** @param {FeatureTable} features */
  function start(features) {
    const n = features.feature_id.length;
    const kinds = features.kind.map((kind) => features.kinds[kind]);
    /** @param {number} place */
    const labelOf = (place) => site.labelOf(features, place);

    /** @type {Column[]} */
    const columns = [
      { name: "feature", title: "Feature", numeric: true, value: (i) => features.feature_id[i] },
      { name: "label", title: "Label", numeric: false, value: (i) => labelOf(i).toLowerCase() || "\uffff" },
      { name: "kind", title: "Kind", numeric: false, value: (i) => features.kind[i] },
      { name: "density", title: "Density", numeric: true, value: (i) => features.density[i] },
      { name: "maximum", title: "Maximum", numeric: true, value: (i) => features.max_activation[i] },
      { name: "rare", title: "Rare cosine", numeric: true, value: (i) => features.rare_cosine[i] ?? -2 },
      { name: "token", title: "Strongest on", numeric: false, value: (i) => features.peak[i].trim().toLowerCase() || "\uffff" },
      { name: "promotes", title: "Promotes", numeric: false, value: (i) => (features.vocabulary.text[features.promoted[i][0]] ?? "\uffff").trim().toLowerCase() },
    ];

    const state = stateOf(new URLSearchParams(location.search));
    /** @type {number[]} places of the rows shown, in order */
    let order = [];
    let asked = 0;

    const status = element("p", { class: "status", role: "status" });
    const body = document.createElement("tbody");
    const head = document.createElement("tr");
    const table = element(
      "table",
      { class: "features live", "aria-rowcount": String(n + 1) },
      element("caption", { class: "visually-hidden" }, "All features"),
      element("thead", {}, head),
      body,
    );
    const rowHeight = () => parseFloat(getComputedStyle(table).getPropertyValue("--row")) * parseFloat(getComputedStyle(document.documentElement).fontSize);
    const controls = filters(state, update);
    pages?.setAttribute("data-list", "");
    pages?.replaceChildren(controls, status, element("div", { class: "table-frame" }, table));
    const frame = /** @type {HTMLElement} */ (table.parentElement);

    for (const column of columns) {
      const button = element("button", { type: "button" }, column.title);
      const cell = element("th", { scope: "col", "data-column": column.name, class: column.numeric && column.name !== "feature" ? "number" : "" }, button);
      button.addEventListener("click", () => {
        const again = state.sort === column.name;
        state.down = again ? !state.down : column.numeric && column.name !== "feature";
        state.sort = column.name;
        update();
      });
      head.append(cell);
    }

    async function update() {
      const number = ++asked;
      let found = null;
      try {
        if (state.q) found = await site.matches(state.q, features);
      } catch (error) {
        status.textContent = `Words cannot be looked for: ${site.reason(error)}.`;
        return;
      }
      if (number !== asked) return;
      const base = found && !state.sort ? byWeight(found) : sorted(state.sort, state.down);
      await site.pause(); // sorting was one piece of work, drawing is another
      if (number !== asked) return;
      const marks = site.marks.all();
      order = base.filter((i) => {
        const density = 100 * features.density[i];
        if (found && !found.has(i)) return false;
        if (state.kind && kinds[i] !== state.kind) return false;
        if (density < state.low || density > state.high) return false;
        if (state.maximum && features.max_activation[i] < state.maximum) return false;
        if (state.rare > -1 && (features.rare_cosine[i] ?? -1) < state.rare) return false;
        if (state.starred && !marks.get(features.feature_id[i])?.starred) return false;
        return !state.labelled || labelOf(i) !== "";
      });
      for (const cell of head.children) {
        if (cell.getAttribute("data-column") === state.sort) cell.setAttribute("aria-sort", state.down ? "descending" : "ascending");
        else cell.removeAttribute("aria-sort");
      }
      table.dataset.labels = String(Object.keys(features.labels).length + [...marks.values()].filter((mark) => mark.label).length);
      status.textContent = order.length === n ? `${site.grouped(n)} features` : `${site.grouped(order.length)} of ${site.grouped(n)} features`;
      table.setAttribute("aria-rowcount", String(order.length + 1));
      drawn = "";
      draw();
      try {
        history.replaceState(null, "", addressOf(state));
      } catch {
        // a browser that was asked too often; the next change sets it
      }
    }

    /** @type {Map<string, number[]>} all places in the order of a column, once each is asked for */
    const orders = new Map();

    /**
     * @param {string} name of a column
     * @param {boolean} down
     */
    function sorted(name, down) {
      const key = `${name} ${down}`;
      let known = orders.get(key);
      if (!known) {
        const column = columns.find((one) => one.name === name) ?? columns[0];
        const values = features.feature_id.map((_, i) => column.value(i));
        const sign = down ? -1 : 1;
        known = [...values.keys()].sort((one, other) => (values[one] < values[other] ? -sign : values[one] > values[other] ? sign : one - other));
        orders.set(key, known);
      }
      return known;
    }

    /** @param {Map<number, number>} found */
    const byWeight = (found) => [...found.keys()].sort((one, other) => (found.get(other) ?? 0) - (found.get(one) ?? 0) || one - other);

    let drawn = "";

    /** Draws the rows in the window, with room for all others above and below. */
    function draw() {
      const height = rowHeight();
      const top = -body.getBoundingClientRect().top;
      const first = Math.max(0, Math.min(order.length, Math.floor(top / height)) - SPARE_ROWS);
      const last = Math.min(order.length, first + Math.ceil(window.innerHeight / height) + 2 * SPARE_ROWS);
      const key = `${first}-${last}`;
      if (key === drawn) return;
      drawn = key;
      const rows = [spacer(first * height)];
      for (let at = first; at < last; at++) rows.push(row(order[at], at));
      rows.push(spacer((order.length - last) * height));
      const focused = body.contains(document.activeElement) ? document.activeElement?.getAttribute("href") : null;
      body.replaceChildren(...rows);
      const again = focused && body.querySelector(`a[href="${CSS.escape(focused)}"]`);
      if (again instanceof HTMLElement) again.focus({ preventScroll: true });
    }

    /** @param {number} height */
    function spacer(height) {
      const made = element("tr", { "aria-hidden": "true", class: "spacer" });
      made.style.height = `${height}px`;
      return made;
    }

    /**
     * @param {number} i
     * @param {number} at
     */
    function row(i, at) {
      const id = features.feature_id[i];
      const mark = site.marks.of(id);
      const label = labelOf(i);
      const promoted = features.promoted[i].flatMap((token) => [element("code", {}, site.shown(token, features.vocabulary)), " "]);
      const cosine = features.rare_cosine[i];
      const name = element("a", { href: site.featureUrl(id) }, String(id));
      return element(
        "tr",
        { "aria-rowindex": String(at + 2) },
        element("th", { scope: "row" }, name, ...(mark.starred ? [element("span", { class: "star", title: "starred" }, " ★")] : [])),
        element("td", { class: "label", title: label }, label),
        element("td", {}, element("span", { class: "kind", "data-kind": kinds[i] }, kinds[i])),
        element("td", { class: "number" }, site.percent(features.density[i])),
        element("td", { class: "number" }, site.significant(features.max_activation[i])),
        element("td", { class: "number" }, cosine === null ? "" : site.significant(cosine)),
        element("td", { class: "strongest" }, site.lineOf(features, i, "p")),
        element("td", { class: "promotes" }, ...promoted),
      );
    }

    let waiting = 0;
    const redraw = () => {
      cancelAnimationFrame(waiting);
      waiting = requestAnimationFrame(draw);
    };
    window.addEventListener("scroll", redraw, { passive: true });
    window.addEventListener("resize", () => {
      drawn = "";
      redraw();
    });
    document.addEventListener("sitegen:marks", () => {
      orders.clear(); // labels may be others
      update();
    });
    update().then(() => (frame.dataset.ready = ""));
  }

  /**
   * What is asked for; numbers are percent, and activations.
   * @param {URLSearchParams} given
   */
  function stateOf(given) {
    /**
     * @param {string} name
     * @param {number} otherwise
     */
    const number = (name, otherwise) => (given.has(name) && Number.isFinite(Number(given.get(name))) ? Number(given.get(name)) : otherwise);
    return {
      q: given.get("q")?.trim() ?? "",
      kind: KINDS.includes(given.get("kind") ?? "") ? (given.get("kind") ?? "") : "",
      low: number("low", 0),
      high: number("high", 100),
      maximum: number("maximum", 0),
      rare: number("rare", -1),
      starred: given.has("starred"),
      labelled: given.has("labelled"),
      sort: given.get("sort") ?? (given.get("q")?.trim() ? "" : "feature"),
      down: given.has("down"),
    };
  }

  /** @param {ReturnType<typeof stateOf>} state */
  function addressOf(state) {
    const plain = stateOf(new URLSearchParams(state.q ? { q: state.q } : {}));
    const given = new URLSearchParams();
    for (const [name, value] of Object.entries(state)) {
      const usual = plain[/** @type {keyof typeof plain} */ (name)];
      if (name === "q" ? !value : value === usual) continue;
      given.set(name, typeof value === "boolean" ? "1" : String(value));
    }
    const query = given.toString();
    return query ? `?${query}` : location.pathname;
  }

  /**
   * @param {ReturnType<typeof stateOf>} state
   * @param {() => void} update
   */
  function filters(state, update) {
    const form = element("form", { class: "filters", "aria-label": "Filter" });
    form.addEventListener("submit", (event) => event.preventDefault());

    /**
     * @param {string} title
     * @param {HTMLElement} control
     */
    const labelled = (title, control) => form.append(element("label", {}, element("span", {}, title), control));

    /**
     * @param {string} title
     * @param {"q" | "low" | "high" | "maximum" | "rare"} name
     * @param {Record<string, string>} attributes
     */
    function field(title, name, attributes) {
      const input = /** @type {HTMLInputElement} */ (element("input", { autocomplete: "off", ...attributes }));
      const usual = stateOf(new URLSearchParams())[name];
      input.value = state[name] === usual ? "" : String(state[name]);
      input.addEventListener("input", () => {
        if (name === "q") {
          const query = input.value.trim();
          if (!state.q && query && state.sort === "feature") state.sort = ""; // the best first
          if (!query && !state.sort) state.sort = "feature";
          state.q = query;
        } else {
          const value = Number(input.value.replace(",", "."));
          state[name] = input.value && Number.isFinite(value) ? value : Number(usual);
        }
        update();
      });
      labelled(title, input);
      return input;
    }

    /**
     * @param {string} title
     * @param {"starred" | "labelled"} name
     */
    function box(title, name) {
      const input = /** @type {HTMLInputElement} */ (element("input", { type: "checkbox" }));
      input.checked = state[name];
      input.addEventListener("change", () => {
        state[name] = input.checked;
        update();
      });
      form.append(element("label", { class: "box" }, input, title));
    }

    field("Token, label or word", "q", { type: "search", "data-key": "f", "aria-keyshortcuts": "f", "aria-label": "Filter by token, label or word" });
    const kind = /** @type {HTMLSelectElement} */ (element("select"));
    for (const name of ["", ...KINDS]) kind.append(new Option(name || "all", name, false, name === state.kind));
    kind.addEventListener("change", () => {
      state.kind = kind.value;
      update();
    });
    labelled("Kind", kind);
    field("Density from %", "low", { inputmode: "decimal", size: "6" });
    field("to %", "high", { inputmode: "decimal", size: "6" });
    field("Maximum from", "maximum", { inputmode: "decimal", size: "6" });
    field("Rare cosine from", "rare", { inputmode: "text", size: "6" });
    box("starred", "starred");
    box("labelled", "labelled");
    form.append(exchange());
    return form;
  }

  /**
   * Buttons that write one's own stars and labels to a file, and read one.
   */
  function exchange() {
    const note = element("small", { role: "status" });
    const file = /** @type {HTMLInputElement} */ (element("input", { type: "file", accept: ".json,application/json", class: "visually-hidden", "aria-label": "Labels file", tabindex: "-1" }));
    const write = element("button", { type: "button", title: "Your stars and labels as a labels file" }, "Export labels");
    write.addEventListener("click", () => {
      const link = element("a", { download: "labels.json", href: URL.createObjectURL(new Blob([site.marks.exported()], { type: "application/json" })) });
      link.click();
      note.textContent = `${site.grouped(site.marks.all().size)} written.`;
    });
    const read = element("button", { type: "button", title: "Stars and labels from a labels file" }, "Import");
    read.addEventListener("click", () => file.click());
    file.addEventListener("change", async () => {
      const chosen = file.files?.[0];
      if (!chosen) return;
      try {
        const { taken, left } = site.marks.imported(await chosen.text());
        note.textContent = `${site.grouped(taken)} read${left ? `, ${site.grouped(left)} were no labels` : ""}. ${site.marks.trouble()}`;
      } catch (error) {
        note.textContent = `${chosen.name} is no labels file: ${site.reason(error)}.`;
      }
      file.value = "";
    });
    return element("span", { class: "exchange" }, write, read, file, note);
  }

  site.features().then(start).catch((error) => {
    pages.setAttribute("data-list", "static");
    pages.prepend(element("p", { class: "note", role: "status" }, `The list cannot be sorted here: ${error.message}.`));
  });
})();
