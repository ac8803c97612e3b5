/** The map of features: zooming and moving; pointing at a dot names its feature, clicking opens the feature's page. */
(() => {
  "use strict";

  const figure = document.getElementById("feature-map");
  const frame = /** @type {HTMLElement | null | undefined} */ (figure?.querySelector(".map-frame"));
  const svg = frame?.querySelector("svg");
  if (!figure || !(frame instanceof HTMLElement) || !svg) return;
  const size = Number(figure.dataset.size);
  const whole = { x: -20, y: -20, width: size + 40 };
  const view = { ...whole };
  // Pixels from a dot within which it is taken to be pointed at
  const REACH = 14;

  const label = document.createElement("a");
  label.className = "map-label";
  label.hidden = true;
  const mark = document.createElementNS("http://www.w3.org/2000/svg", "path");
  mark.setAttribute("class", "here");
  svg.append(mark);
  const buttons = document.createElement("div");
  buttons.className = "map-buttons";
  frame.append(label, buttons);

  function draw() {
    svg?.setAttribute("viewBox", `${view.x} ${view.y} ${view.width} ${view.width}`);
    frame?.style.setProperty("--zoom", String(whole.width / view.width));
  }

  /**
   * Zooms, keeping a point of the map in its position.
   * @param {number} factor
   * @param {{x: number, y: number}} about
   */
  function zoom(factor, about) {
    const width = Math.min(whole.width, Math.max(whole.width / 40, view.width / factor));
    const ratio = width / view.width;
    view.x = about.x - (about.x - view.x) * ratio;
    view.y = about.y - (about.y - view.y) * ratio;
    view.width = width;
    keepInside();
    draw();
  }

  function keepInside() {
    for (const axis of /** @type {const} */ (["x", "y"])) {
      view[axis] = Math.min(Math.max(view[axis], whole[axis]), whole[axis] + whole.width - view.width);
    }
  }

  const middle = () => ({ x: view.x + view.width / 2, y: view.y + view.width / 2 });
  const actions = /** @type {const} */ ([
    ["+", "Zoom in", () => zoom(1.6, middle())],
    ["−", "Zoom out", () => zoom(1 / 1.6, middle())],
    ["⤢", "Whole map", () => zoom(1e-3, middle())],
  ]);
  for (const [text, name, action] of actions) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    button.setAttribute("aria-label", name);
    button.addEventListener("click", action);
    buttons.append(button);
  }

  /** @param {MouseEvent} event */
  function point(event) {
    const box = /** @type {SVGSVGElement} */ (svg).getBoundingClientRect();
    const scale = view.width / box.width;
    return { x: view.x + (event.clientX - box.left) * scale, y: view.y + (event.clientY - box.top) * scale, scale };
  }

  svg.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      zoom(Math.exp(-event.deltaY * 0.002), point(event));
    },
    { passive: false },
  );

  /** @type {{x: number, y: number} | null} */
  let held = null;
  let moved = false;
  svg.addEventListener("pointerdown", (event) => {
    held = point(event);
    moved = false;
  });
  for (const end of ["pointerup", "pointercancel"]) window.addEventListener(end, () => (held = null));
  svg.addEventListener("pointermove", (event) => {
    if (!held) return;
    const now = point(event);
    moved ||= Math.hypot(now.x - held.x, now.y - held.y) > 4 * now.scale;
    if (view.width === whole.width) return;
    view.x -= now.x - held.x;
    view.y -= now.y - held.y;
    keepInside();
    draw();
  });

  Promise.all([window.sitegen.load("map"), window.sitegen.features()]).then(
    ([map, features]) => {
      /** @type {number} */
      let found = -1;

      /** @param {MouseEvent} event */
      function find(event) {
        const at = point(event);
        let nearest = (REACH * at.scale) ** 2;
        found = -1;
        for (let i = 0; i < map.x.length; i++) {
          const distance = (map.x[i] * size - at.x) ** 2 + (map.y[i] * size - at.y) ** 2;
          if (distance < nearest) [nearest, found] = [distance, i];
        }
        show();
      }

      function show() {
        label.hidden = found < 0;
        mark.setAttribute("d", found < 0 ? "" : `M${map.x[found] * size} ${map.y[found] * size}h0`);
        if (found < 0) return;
        const x = (map.x[found] * size - view.x) / view.width;
        const y = (map.y[found] * size - view.y) / view.width;
        label.style.left = `${100 * x}%`;
        label.style.top = `${100 * y}%`;
        label.dataset.side = `${x > 0.5 ? "left" : "right"}`;
        const title = document.createElement("strong");
        title.textContent = `Feature ${map.feature_id[found]}`;
        const index = features.index.get(map.feature_id[found]) ?? 0;
        const tokens = features.tokens[index].map((id) => {
          const token = document.createElement("code");
          token.textContent = window.sitegen.shown(id, features.vocabulary);
          return token;
        });
        label.replaceChildren(title, ` ${window.sitegen.percent(features.density[index])} `, ...tokens);
        label.setAttribute("href", window.sitegen.featureUrl(map.feature_id[found]));
      }

      svg.addEventListener("pointermove", find);
      svg.addEventListener("pointerleave", () => {
        label.hidden = true;
      });
      svg.addEventListener("click", (event) => {
        find(event);
        if (found >= 0 && !moved) window.location.href = label.href;
      });
      figure.dataset.ready = "";
    },
    (error) => {
      figure.querySelector("figcaption")?.append(` The features of the dots cannot be shown: ${error.message}.`);
    },
  );
})();
