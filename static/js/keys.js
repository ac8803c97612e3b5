/** Keyboard shortcuts. An element declares its key by data-key; the help lists all that the page declares. */
(() => {
  "use strict";

  const { element } = window.sitegen;
  const tools = document.querySelector(".site-header .tools");
  const pager = document.querySelector(".pager");

  /**
   * A button with a shortcut.
   * @param {string} text
   * @param {string} name
   * @param {string} key
   * @param {() => void} action
   */
  function button(text, name, key, action) {
    const made = element(
      "button",
      { type: "button", "data-key": key, "aria-keyshortcuts": key, "aria-label": name, title: `${name} (${key})` },
      text,
    );
    made.addEventListener("click", action);
    return made;
  }

  /**
   * A dialog that closes when the page beside it is clicked.
   * @param {string} title
   * @param {...Node} children
   */
  function dialog(title, ...children) {
    const made = document.createElement("dialog");
    const close = element("button", { type: "button", class: "close", "aria-label": "Close" }, "×");
    close.addEventListener("click", () => made.close());
    made.append(element("h2", {}, title), close, ...children);
    made.setAttribute("aria-label", title);
    made.addEventListener("click", (event) => event.target === made && made.close());
    document.body.append(made);
    return made;
  }

  const shortcuts = element("dl", { class: "shortcuts" });
  const help = dialog("Keyboard shortcuts", shortcuts);

  function showHelp() {
    shortcuts.replaceChildren();
    for (const target of document.querySelectorAll("[data-key]")) {
      const name = target.getAttribute("aria-label") ?? target.getAttribute("title") ?? target.textContent ?? "";
      shortcuts.append(
        element("dt", {}, element("kbd", {}, target.getAttribute("data-key") ?? "")),
        element("dd", {}, name),
      );
    }
    help.showModal();
  }

  const number = /** @type {HTMLInputElement} */ (
    element("input", {
      inputmode: "numeric",
      pattern: "[0-9]+",
      required: "",
      "aria-label": "Feature number",
      autocomplete: "off",
    })
  );
  const problem = element("p", { class: "note", role: "status" });
  const goTo = dialog(
    "Go to feature",
    element("form", { method: "dialog", class: "go" }, number, element("button", {}, "Go"), problem),
  );
  goTo.querySelector("form")?.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      const features = await window.sitegen.features();
      if (features.index.has(Number(number.value))) location.href = window.sitegen.featureUrl(Number(number.value));
      else problem.textContent = `There is no feature ${number.value}.`;
    } catch (error) {
      problem.textContent = `${window.sitegen.reason(error)}.`;
    }
  });

  async function goAnywhere() {
    // The feature of the current page, which is not drawn
    const here = window.sitegen.featureId ?? -1;
    try {
      const features = await window.sitegen.features();
      const others = features.feature_id.filter((id) => id !== here);
      const to = others[Math.floor(Math.random() * others.length)] ?? here;
      location.href = window.sitegen.featureUrl(to);
    } catch (error) {
      random.textContent = error instanceof Error ? error.message : "Random";
    }
  }

  const SCHEMES = /** @type {const} */ ({ "": ["◐", "system setting"], light: ["☀", "light"], dark: ["☾", "dark"] });

  function showScheme() {
    const [sign, name] =
      SCHEMES[/** @type {keyof typeof SCHEMES} */ (document.documentElement.dataset.theme ?? "")] ?? SCHEMES[""];
    scheme.textContent = sign;
    scheme.setAttribute("aria-label", `Colours: ${name}`);
    scheme.title = `Colours: ${name} (t)`;
  }

  const scheme = button("", "", "t", () => {
    const names = Object.keys(SCHEMES);
    const next = names[(names.indexOf(document.documentElement.dataset.theme ?? "") + 1) % names.length];
    if (next) document.documentElement.dataset.theme = next;
    else delete document.documentElement.dataset.theme;
    try {
      if (next) localStorage.setItem("sitegen:theme", next);
      else localStorage.removeItem("sitegen:theme");
    } catch {
      // Without storage the choice holds for this page
    }
    showScheme();
  });
  showScheme();

  const random = button("Random", "Random feature", "r", goAnywhere);
  const go = button("#", "Go to a feature by number", "g", () => {
    problem.textContent = "";
    goTo.showModal();
    number.select();
  });
  (pager ?? tools)?.append(random);
  tools?.append(go, scheme, button("?", "Keyboard shortcuts", "?", showHelp));

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const at = event.target;
    if (at instanceof HTMLElement && (at.matches("input, textarea, select") || at.isContentEditable)) return;
    if (document.querySelector("dialog[open]")) return;
    const target = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
    if (!(target instanceof HTMLElement)) return;
    event.preventDefault();
    if (target instanceof HTMLInputElement || target instanceof HTMLTextAreaElement) target.focus();
    else target.click();
  });
})();
