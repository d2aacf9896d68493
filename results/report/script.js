"use strict";
// Draws the figures in the theme's colors and keeps charts, table and layer view on the same selected point.
(() => {
  const first = JSON.parse(document.getElementById("data").textContent);
  const views = [first, ...first.others];  // one for each target
  const charts = ["latency", "size", "space", "history"];
  const pointsOf = (view) => new Map(view.layers.points.map((point) => [point.trial, point]));
  let data = first, points = pointsOf(first);
  const buttons = { space: ["toImage", "resetCameraDefault3d"], history: ["toImage"] };
  const config = (name) => ({ displaylogo: false, responsive: true, doubleClick: "reset+autosize", plotlyServerURL: "",
    modeBarButtons: [buttons[name] || ["toImage", "zoom2d", "pan2d", "resetScale2d"]] });

  const element = (tag, properties = {}, ...children) => {
    const node = Object.assign(document.createElement(tag), properties);
    node.append(...children);
    return node;
  };

  /** The figure with every `var(--name)` replaced by the style sheet's value, since Plotly cannot resolve them. */
  const themed = (figure) => {
    const style = getComputedStyle(document.documentElement);
    const color = (_, name) => JSON.stringify(style.getPropertyValue(name).trim());
    return JSON.parse(JSON.stringify(figure).replace(/"var\((--[\w-]+)\)"/g, color));
  };

  const webgl = () => {
    const canvas = document.createElement("canvas");
    return Boolean(canvas.getContext("webgl2") || canvas.getContext("webgl"));
  };

  const draw = () => {
    const narrow = matchMedia("(max-width: 640px)").matches;
    for (const name of charts) {
      const target = document.getElementById(`chart-${name}`);
      if (name === "space" && !webgl()) {
        target.replaceChildren(element("p", { className: "lead", textContent:
          "This browser has no WebGL, which the three-dimensional view needs; the two charts above show the same points." }));
        target.classList.add("empty");
        continue;
      }
      const figure = themed(data.figures[name]);
      if (narrow && name === "space") {
        const { eye } = figure.layout.scene.camera;
        for (const axis of ["x", "y", "z"]) eye[axis] *= 1.58;
      }
      // On a telephone a finger that moves over a flat chart scrolls the page.
      if (narrow && name !== "space") {
        Object.assign(figure.layout.margin, { l: 46, r: 6 });
        figure.layout.dragmode = false;
      }
      Plotly.react(target, figure.data, figure.layout, config(name));
    }
  };

  /** Where the selected trial lies in a figure: index of trace and point, or null. */
  const find = (figure, trial) => {
    for (const trace of figure.data) {
      const index = trace.name && trace.name !== "selected" ? (trace.customdata || []).indexOf(trial) : -1;
      if (index >= 0) return { trace, index };
    }
    return null;
  };

  const ring = (trial) => {
    for (const name of ["latency", "size", "space"]) {
      const figure = data.figures[name];
      const selected = figure.data.find((trace) => trace.name === "selected");
      const found = find(figure, trial);
      for (const axis of ["x", "y", "z"]) {
        if (axis in selected) selected[axis] = found ? [found.trace[axis][found.index]] : [];
      }
    }
    draw();
  };

  const bar = (before, share, kind) => {
    const fill = element("i", { className: kind });
    fill.style.width = `${100 * Math.min(1, share / (before || 1))}%`;
    const track = element("div", { className: "track" }, fill);
    track.style.width = `${Math.max(2, 100 * before)}%`;
    return track;
  };

  /** What was stored and what ran as a chip, and the bits of a weight as a share of the original's 32. */
  const precision = (layer) => {
    const chip = element("span", { className: `chip ${layer.warned ? "mismatch" : layer.ran}`, textContent: layer.chip });
    if (!layer.checked && !layer.removed) chip.title = "as stored; what ran was not checked";
    const bits = bar(1, layer.bits_share, layer.ran);
    bits.style.width = "";
    return [chip, bits];
  };

  /** Two bars, since a time may grow: the original's as a line, the point's own below it. */
  const timeBars = (time, kind) => {
    const before = element("i", { className: "before" }), own = bar(time.time_share, time.time_share, kind);
    before.style.width = `${100 * time.time_before}%`;
    own.style.width = `${100 * time.time_share}%`;
    return element("div", {}, before, own);
  };

  const amount = (label, text, bars, title = "") => {
    const cell = element("td", { className: `number amount ${label}`, title }, element("span", { textContent: text }), bars);
    cell.dataset.label = label;
    return cell;
  };

  const row = (layer) => element("tr", { className: layer.removed ? "removed" : "" },
    element("th", { scope: "row" }, element("code", { textContent: layer.name }), element("small", { textContent: layer.kind })),
    element("td", { className: "channels" }, bar(layer.width, layer.width * layer.kept, layer.ran),
      element("span", { textContent: layer.channels, title: layer.inputs })),
    element("td", { className: "precision" }, ...precision(layer)),
    amount("MACs", layer.macs, bar(layer.macs_before, layer.macs_share, layer.ran)),
    amount("weights", layer.bytes, bar(layer.bytes_before, layer.bytes_share, layer.ran)),
    amount("time", layer.time, timeBars(layer, layer.ran), layer.time_title));

  const otherRow = (time) => element("tr", { className: "other" },
    element("th", { scope: "row", colSpan: 5, textContent: "everything else: sums, pooling, conversions" }),
    amount("time", time.time, timeBars(time, "float32"), time.time_title));

  const show = (trial) => {
    const point = points.get(trial);
    if (!point) return;
    document.getElementById("point").value = String(trial);
    document.getElementById("recipe").replaceChildren(...point.recipe.map((line) => element("li", { textContent: line })));
    document.getElementById("command").textContent = point.command;
    const warnings = document.getElementById("warnings");
    warnings.hidden = point.warnings.length === 0;
    warnings.replaceChildren(...point.warnings.map((line) => element("li", { textContent: line })));
    document.getElementById("layer-rows").replaceChildren(...point.layers.map(row));
    document.getElementById("other-rows").replaceChildren(...(point.other ? [otherRow(point.other)] : []));
    document.getElementById("times-note").textContent = point.note;
    for (const line of document.querySelectorAll("[data-trial]")) {
      line.classList.toggle("selected", line.dataset.trial === String(trial));
    }
    ring(trial);
  };

  const select = document.getElementById("point");
  const fill = () => select.replaceChildren(
    ...data.layers.points.map((point) => element("option", { value: point.trial, textContent: point.label })));
  fill();
  select.addEventListener("change", () => show(Number(select.value)));
  for (const line of document.querySelectorAll("[data-trial]")) {
    line.addEventListener("click", () => show(Number(line.dataset.trial)));
  }
  const target = document.getElementById("target");
  if (target) target.addEventListener("change", () => {
    const shown = Number(select.value);
    data = views[Number(target.value)];
    points = pointsOf(data);
    for (const part of document.querySelectorAll("div[data-target]")) part.hidden = part.dataset.target !== target.value;
    fill();
    show(points.has(shown) ? shown : data.layers.first);
  });
  const linked = /^#trial-(-?\d+)$/.exec(location.hash);
  show(linked && points.has(Number(linked[1])) ? Number(linked[1]) : data.layers.first);
  for (const name of charts) {
    const target = document.getElementById(`chart-${name}`);
    if (target.on) target.on("plotly_click", (event) => show(event.points[0].customdata));
  }
  const resized = new ResizeObserver((entries) => {
    for (const { target } of entries) if (target.data) Plotly.Plots.resize(target);
  });
  for (const name of charts) resized.observe(document.getElementById(`chart-${name}`));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  document.documentElement.dataset.ready = "true";
})();
