/** Tables of features: those of the index, of a token and of a reader's text differ in columns and rows only. */
(() => {
  "use strict";

  const site = window.sitegen;
  const { element } = site;

  /**
   * The head of a table.
   * @template Row
   * @template {TableColumn<Row>} Column
   * @param {Column[]} columns
   * @param {(column: Column) => Node | string} [content]
   */
  function head(columns, content = (column) => column.title) {
    const cells = columns.map((column) =>
      element(
        "th",
        { scope: "col", ...classOf(column), ...(column.name && { "data-column": column.name }) },
        content(column),
      ),
    );
    return element("tr", {}, ...cells);
  }

  /**
   * A row of a table; the first column names it.
   * @template Row
   * @param {TableColumn<Row>[]} columns
   * @param {Row} row
   * @param {Record<string, string>} [attributes]
   */
  function row(columns, row, attributes) {
    const cells = columns.map((column, i) => {
      const own = i ? classOf(column) : { scope: "row" };
      return element(i ? "td" : "th", { ...own, ...(column.hint && { title: column.hint(row) }) }, ...column.cell(row));
    });
    return element("tr", attributes, ...cells);
  }

  /**
   * @param {{ class?: string }} column
   * @returns {Record<string, string>}
   */
  const classOf = (column) => (column.class ? { class: column.class } : {});

  /**
   * A table in a frame that scrolls where the window is too narrow.
   * @template Row
   * @param {TableColumn<Row>[]} columns
   * @param {Row[]} rows
   * @param {string} label
   */
  function framed(columns, rows, label) {
    const body = element("tbody", {}, ...rows.map((one) => row(columns, one)));
    const table = element("table", { class: "features" }, element("thead", {}, head(columns)), body);
    return element("div", { class: "table-frame", tabindex: "0", role: "region", "aria-label": label }, table);
  }

  /**
   * What a feature is known by: its label, if there is one, and its top context.
   * @param {FeatureTable} features
   * @param {number} index
   */
  function description(features, index) {
    const label = site.labelOf(features, index);
    const line = site.lineOf(features, index, "span");
    return label ? [element("span", { class: "label" }, label), " ", line] : [line];
  }

  site.table = { head, row, framed, description };
})();
