/** On a feature's page: the reader's own star and label. */
(() => {
  "use strict";

  const { element, marks, featureId } = window.sitegen;
  const bar = document.querySelector(".notes");
  if (featureId === null || !bar) return;
  const feature = featureId;

  const star = element("button", { type: "button", class: "star", "data-key": "s", "aria-keyshortcuts": "s" });
  const label = /** @type {HTMLInputElement} */ (
    element("input", {
      placeholder: "Your label",
      "aria-label": "Your label",
      "data-key": "l",
      "aria-keyshortcuts": "l",
      maxlength: String(window.sitegen.sizes.longest_label),
      autocomplete: "off",
    })
  );
  const note = element("small", { role: "status" });
  bar.append(star, label, note);

  function show() {
    const mark = marks.of(feature);
    star.textContent = mark.starred ? "★" : "☆";
    star.setAttribute("aria-pressed", String(mark.starred));
    star.setAttribute("aria-label", "Star");
    star.title = "Star this feature (s); saved in this browser";
    if (document.activeElement !== label) label.value = mark.label;
    note.textContent = marks.trouble();
  }

  star.addEventListener("click", () =>
    marks.set(feature, { ...marks.of(feature), starred: !marks.of(feature).starred }),
  );
  label.addEventListener("input", () => marks.set(feature, { ...marks.of(feature), label: label.value.trim() }));
  label.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === "Escape") label.blur();
  });
  document.addEventListener("sitegen:marks", show);
  show();
})();
