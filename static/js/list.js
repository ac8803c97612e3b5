/** The index as one list of all features, sorted and filtered as the reader asks; the address keeps the state. */
(() => {
  "use strict";

  const site = window.sitegen;
  const { element } = site;
  // Rows drawn above and below the window
  const SPARE_ROWS = 12;
  // Sorts behind every text
  const LAST = "\uffff";

  const pages = document.getElementById("feature-list");
  if (!pages) return;

  /**
   * A column that can be sorted by.
   * @typedef {TableColumn<number> & {name: string, numeric: boolean, value: (index: number) => number | string}} Column
   */

  /**
   * @param {FeatureTable} features
   * @returns {Column[]}
   */
  function columnsOf(features) {
    const { feature_id, kinds, kind, density, max_activation, rare_cosine, promoted, vocabulary } = features;
    /** @param {number} i */
    const label = (i) => site.labelOf(features, i);
    return [
      {
        name: "feature",
        title: "Feature",
        numeric: true,
        value: (i) => feature_id[i],
        cell: (i) => [site.linkTo(feature_id[i]), ...starOf(feature_id[i])],
      },
      {
        name: "label",
        title: "Label",
        class: "label",
        numeric: false,
        value: (i) => label(i).toLowerCase() || LAST,
        cell: (i) => [label(i)],
        hint: label,
      },
      {
        name: "kind",
        title: "Kind",
        numeric: false,
        value: (i) => kind[i],
        cell: (i) => [element("span", { class: "kind", "data-kind": kinds[kind[i]] }, kinds[kind[i]])],
      },
      numberColumn("density", "Density", density, site.percent),
      numberColumn("maximum", "Max activation", max_activation, site.significant),
      numberColumn("rare", "Rare cosine", rare_cosine, site.significant),
      {
        name: "token",
        title: "Top context",
        class: "strongest",
        numeric: false,
        value: (i) => features.peak[i].trim().toLowerCase() || LAST,
        cell: (i) => [site.lineOf(features, i, "p")],
      },
      {
        name: "promotes",
        title: "Promoted tokens",
        class: "promotes",
        numeric: false,
        value: (i) => (vocabulary.text[promoted[i][0]] ?? LAST).trim().toLowerCase(),
        cell: (i) => promoted[i].flatMap((token) => [element("code", {}, site.shown(token, vocabulary)), " "]),
      },
    ];
  }

  /**
   * @param {string} name
   * @param {string} title
   * @param {(number | null)[]} values of all features; null sorts below every number
   * @param {(value: number) => string} format
   * @returns {Column}
   */
  const numberColumn = (name, title, values, format) => ({
    name,
    title,
    class: "number",
    numeric: true,
    value: (i) => values[i] ?? -Infinity,
    cell: (i) => {
      const value = values[i];
      return value === null ? [] : [format(value)];
    },
  });

  /** @param {number} featureId */
  const starOf = (featureId) =>
    site.marks.of(featureId).starred ? [element("span", { class: "star", title: "starred" }, " ★")] : [];

  /**
   * All features in the order of a column. Each order is computed once, until `clear`.
   * @param {FeatureTable} features
   * @param {Column[]} columns
   */
  function sorter(features, columns) {
    /** @type {Map<string, number[]>} */
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
        known = [...values.keys()].sort((one, other) =>
          values[one] < values[other] ? -sign : values[one] > values[other] ? sign : one - other,
        );
        orders.set(key, known);
      }
      return known;
    }
    return { sorted, clear: () => orders.clear() };
  }

  /** @param {Map<number, number>} found weights of features by their index */
  const byWeight = (found) =>
    [...found.keys()].sort((one, other) => (found.get(other) ?? 0) - (found.get(one) ?? 0) || one - other);

  /**
   * The head of the table: a button for each column, which sorts by it and, pressed again, the other way.
   * @param {Column[]} columns
   * @param {ListState} state
   * @param {() => void} update
   */
  function headOf(columns, state, update) {
    return site.table.head(columns, (column) => {
      const button = element("button", { type: "button" }, column.title);
      button.addEventListener("click", () => {
        // Numbers begin with the largest, feature numbers and texts with the smallest
        state.down = state.sort === column.name ? !state.down : column.numeric && column.name !== "feature";
        state.sort = column.name;
        update();
      });
      return button;
    });
  }

  /**
   * @param {HTMLElement} head
   * @param {ListState} state
   */
  function showOrder(head, state) {
    for (const cell of head.children) {
      const isSorted = cell.getAttribute("data-column") === state.sort;
      if (isSorted) cell.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    }
  }

  /**
   * Draws only the rows within the window, between two spacers as high as all others: a table of all rows would take
   * seconds to lay out.
   * @param {HTMLElement} table
   * @param {HTMLElement} body
   * @param {(index: number, at: number) => HTMLElement} rowOf
   */
  function windowedRows(table, body, rowOf) {
    /** @type {number[]} */
    let order = [];
    let drawn = "";
    let waiting = 0;

    const rowHeight = () =>
      parseFloat(getComputedStyle(table).getPropertyValue("--row")) *
      parseFloat(getComputedStyle(document.documentElement).fontSize);

    /** @param {number} height */
    function spacer(height) {
      const made = element("tr", { "aria-hidden": "true", class: "spacer" });
      made.style.height = `${height}px`;
      return made;
    }

    function draw() {
      const height = rowHeight();
      const top = -body.getBoundingClientRect().top;
      const first = Math.max(0, Math.min(order.length, Math.floor(top / height)) - SPARE_ROWS);
      const last = Math.min(order.length, first + Math.ceil(window.innerHeight / height) + 2 * SPARE_ROWS);
      const key = `${first}-${last}`;
      if (key === drawn) return;
      drawn = key;
      // Rows are made anew, so the focus is put back on the link that had it
      const focused = body.contains(document.activeElement) ? document.activeElement?.getAttribute("href") : null;
      const rows = order.slice(first, last).map((index, i) => rowOf(index, first + i));
      body.replaceChildren(spacer(first * height), ...rows, spacer((order.length - last) * height));
      const again = focused && body.querySelector(`a[href="${CSS.escape(focused)}"]`);
      if (again instanceof HTMLElement) again.focus({ preventScroll: true });
    }

    /** @param {number[]} rows indices of features */
    function show(rows) {
      order = rows;
      drawn = "";
      draw();
    }

    function drawSoon() {
      cancelAnimationFrame(waiting);
      waiting = requestAnimationFrame(draw);
    }
    window.addEventListener("scroll", drawSoon, { passive: true });
    window.addEventListener("resize", () => {
      drawn = "";
      drawSoon();
    });
    return show;
  }

  /** @param {ListState} state */
  function keepAddress(state) {
    try {
      history.replaceState(null, "", site.filters.addressOf(state));
    } catch {
      // Browsers refuse too many calls in a short time; the next change sets the address
    }
  }

  /** @param {FeatureTable} features */
  function start(features) {
    const n = features.feature_id.length;
    const state = site.filters.stateOf(new URLSearchParams(location.search));
    if (!features.kinds.includes(state.kind)) state.kind = "";
    const columns = columnsOf(features);
    const { sorted, clear } = sorter(features, columns);

    const status = element("p", { class: "status", role: "status" });
    const head = headOf(columns, state, update);
    const body = element("tbody");
    const caption = element("caption", { class: "visually-hidden" }, "All features");
    const table = element("table", { class: "features live" }, caption, element("thead", {}, head), body);
    const frame = element("div", { class: "table-frame" }, table);
    const show = windowedRows(table, body, (index, at) =>
      site.table.row(columns, index, { "aria-rowindex": String(at + 2) }),
    );
    pages?.setAttribute("data-list", "");
    pages?.replaceChildren(site.filters.form(state, features.kinds, update), status, frame);

    let asked = 0;
    /** Indices of the features to show, in order; null if a newer request came in between. */
    async function wanted() {
      const number = ++asked;
      const found = state.q ? await site.matches(state.q, features) : null;
      if (number !== asked) return null;
      const all = found && !state.sort ? byWeight(found) : sorted(state.sort, state.down);
      // Sorting and drawing are separate tasks, so that the page can respond in between
      await site.pause();
      if (number !== asked) return null;
      return all.filter((i) => (!found || found.has(i)) && site.filters.accepts(features, i, state));
    }

    async function update() {
      try {
        const order = await wanted();
        if (!order) return;
        showOrder(head, state);
        const nOwn = [...site.marks.all().values()].filter((mark) => mark.label).length;
        table.dataset.labels = String(Object.keys(features.labels).length + nOwn);
        table.setAttribute("aria-rowcount", String(order.length + 1));
        const share = order.length === n ? "" : `${site.grouped(order.length)} of `;
        status.textContent = `${share}${site.grouped(n)} features`;
        show(order);
        keepAddress(state);
      } catch (error) {
        status.textContent = `The search failed: ${site.reason(error)}.`;
      }
    }

    document.addEventListener("sitegen:marks", () => {
      // Labels may have changed
      clear();
      update();
    });
    update().then(() => (frame.dataset.ready = ""));
  }

  site
    .features()
    .then(start)
    .catch((error) => {
      pages.setAttribute("data-list", "static");
      const problem = `The list cannot be sorted or filtered: ${error.message}.`;
      pages.prepend(element("p", { class: "note", role: "status" }, problem));
    });
})();
