/** The search field in the header lists matches below it as the reader types. */
(() => {
  "use strict";

  const site = window.sitegen;
  const { element } = site;
  const N_TOKENS = 5;
  const N_FEATURES = 7;

  const form = document.querySelector("form.search");
  const input = form?.querySelector("input");
  if (!form || !input) return;
  const list = element("ul", { class: "found", id: "found", role: "listbox", "aria-label": "Search results" });
  list.hidden = true;
  form.append(list);
  const attributes = {
    role: "combobox",
    "aria-controls": "found",
    "aria-expanded": "false",
    "aria-autocomplete": "list",
  };
  for (const [name, value] of Object.entries(attributes)) input.setAttribute(name, value);

  let chosen = -1;
  let asked = 0;

  /**
   * @param {string} url
   * @param {...(Node | string)} children
   */
  function option(url, ...children) {
    const made = element(
      "li",
      { role: "option", id: `found-${list.children.length}`, "aria-selected": "false" },
      ...children,
    );
    made.dataset.url = url;
    list.append(made);
  }

  /** @param {string} text */
  const remark = (text) => element("small", {}, text);

  /**
   * @param {number} index
   * @param {FeatureTable} features
   */
  function featureOption(index, features) {
    const id = features.feature_id[index];
    const label = site.labelOf(features, index);
    const told = label ? element("span", { class: "label" }, label) : site.lineOf(features, index, "span");
    option(site.featureUrl(id), element("strong", {}, String(id)), told);
  }

  async function find() {
    const query = input?.value.trim() ?? "";
    const number = ++asked;
    unchoose();
    if (!query) return close();
    try {
      const features = await site.features();
      const found = await site.matches(query, features);
      if (number !== asked) return;
      fill(query, features, found);
    } catch (error) {
      if (number !== asked) return;
      list.replaceChildren(
        element("li", { role: "option", "aria-disabled": "true" }, `The search failed: ${site.reason(error)}.`),
      );
    }
    open();
  }

  /**
   * @param {string} query
   * @param {FeatureTable} features
   * @param {Map<number, number>} found
   */
  function fill(query, features, found) {
    list.replaceChildren();
    const number = /^\d+$/.test(query) ? features.index.get(Number(query)) : undefined;
    if (number !== undefined) featureOption(number, features);
    for (const id of site.matchingTokens(query, features.vocabulary, N_TOKENS)) {
      option(
        site.tokenUrl(id),
        element("code", {}, site.shown(id, features.vocabulary)),
        remark("token: features that are active on it or promote it"),
      );
    }
    const best = [...found]
      .filter(([index]) => index !== number)
      .sort((one, other) => other[1] - one[1] || one[0] - other[0]);
    for (const [index] of best.slice(0, N_FEATURES)) featureOption(index, features);
    if (found.size) {
      option(
        `${site.root}index.html?q=${encodeURIComponent(query)}`,
        `${site.grouped(found.size)} ${found.size === 1 ? "feature" : "features"}`,
        remark("match in tokens, contexts or labels: show the list"),
      );
    }
    if (!list.children.length) option("", "Nothing found.");
  }

  function unchoose() {
    list.children[chosen]?.setAttribute("aria-selected", "false");
    chosen = -1;
    input?.removeAttribute("aria-activedescendant");
  }

  function open() {
    list.hidden = false;
    input?.setAttribute("aria-expanded", "true");
  }

  function close() {
    asked++;
    list.hidden = true;
    unchoose();
    input?.setAttribute("aria-expanded", "false");
  }

  /** @param {number} step */
  function choose(step) {
    const options = [...list.children];
    options[chosen]?.setAttribute("aria-selected", "false");
    chosen = (chosen + step + options.length) % options.length;
    options[chosen].setAttribute("aria-selected", "true");
    options[chosen].scrollIntoView({ block: "nearest" });
    input?.setAttribute("aria-activedescendant", options[chosen].id);
  }

  /** @param {Element | undefined} made */
  function go(made) {
    const url = made instanceof HTMLElement ? made.dataset.url : "";
    if (url) location.href = url;
  }

  input.addEventListener("input", find);
  input.addEventListener("focus", () => input.value && find());
  input.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
    if (list.hidden) return;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      choose(event.key === "ArrowDown" ? 1 : chosen < 0 ? 0 : -1);
    }
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (chosen >= 0) return go(list.children[chosen]);
    const query = input.value.trim();
    const known = /^\d+$/.test(query) && (await site.features().catch(() => null))?.index.has(Number(query));
    location.href = known ? site.featureUrl(Number(query)) : `${site.root}index.html?q=${encodeURIComponent(query)}`;
  });
  // Keeps the focus in the field
  list.addEventListener("pointerdown", (event) => event.preventDefault());
  list.addEventListener("click", (event) =>
    go(event.target instanceof Element ? (event.target.closest("li") ?? undefined) : undefined),
  );
  input.addEventListener("blur", close);
})();
