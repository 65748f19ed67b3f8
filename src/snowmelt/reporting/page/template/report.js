"use strict";
(() => {
  const root = document.documentElement;
  const plots = JSON.parse(document.getElementById("plots-data").textContent);
  const drawing = (name) => document.getElementById("drawing-" + name);

  // --- colours: Plotly wants values, the style sheet has names -----------------------------------------------------
  const isColour = (key) => /color$/i.test(key) || key === "colorscale";

  function coloured(value, style, within) {
    if (Array.isArray(value)) return value.map((item) => coloured(item, style, within));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, coloured(item, style, isColour(key))]));
    }
    if (within && typeof value === "string" && value.startsWith("--")) return style.getPropertyValue(value).trim();
    return value;
  }

  function tickStep(epochs, width) {
    const least = Math.max(1, epochs / Math.max(2, width / 52));
    for (let power = 1; ; power *= 10) {
      for (const step of [1, 2, 5]) if (step * power >= least) return step * power;
    }
  }

  function layoutOf(plot, width) {
    const style = getComputedStyle(root);
    const colour = (name) => style.getPropertyValue(name).trim();
    const given = coloured(plot.layout, style, false);
    const axis = {
      gridcolor: colour("--rule"), linecolor: colour("--rule"), zerolinecolor: colour("--muted"), zeroline: false, ticks: "",
      tickfont: { color: colour("--muted"), size: 12 }, fixedrange: !plot.epochs, automargin: true,
    };
    const layout = {
      margin: { l: 62, r: 14, t: 22, b: 40 }, hovermode: "closest", showlegend: false, ...given,
      height: plot.height, width, autosize: false, dragmode: plot.epochs && matchMedia("(pointer: fine)").matches ? "zoom" : false,
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: "system-ui, -apple-system, Segoe UI, Roboto, Noto Sans, sans-serif", color: colour("--ink"), size: 13 },
      hoverlabel: { bgcolor: colour("--raised"), bordercolor: colour("--rule"), font: { color: colour("--ink") } },
    };
    for (const name of ["xaxis", "xaxis2", "yaxis", "yaxis2"]) {
      if (name.endsWith("2") && !given[name]) continue;
      const own = given[name] || {};
      layout[name] = { ...axis, ...own, tickfont: { ...axis.tickfont, ...own.tickfont } };
      if (own.title) layout[name].title = { ...own.title, font: { color: colour("--muted"), size: 13 } };
      if (name.startsWith("y")) layout[name].fixedrange = true;
    }
    if (plot.epochs) { // margins that are the same for all, so that epochs lie below each other
      layout.margin = { l: width < 500 ? 64 : 88, r: 12, t: 20, b: plot.name === "plan" ? 40 : 26 };
      layout.xaxis.automargin = false;
      layout.xaxis.tick0 = 0;
      layout.xaxis.dtick = tickStep(plot.epochs, width - layout.margin.l - layout.margin.r);
      layout.yaxis.automargin = false;
      if (plot.name === "plan" && width < 500) layout.yaxis.tickfont.size = 10.5;
    }
    return layout;
  }

  // --- drawing -----------------------------------------------------------------------------------------------------
  const state = new Map(); // name -> {zoom, hidden}: what the reader did outlives a change of colours

  const PAPER_WIDTH = 660, PAPER_HEIGHT = 780, DENSEST = 0.52; // pixels; rows of classes may come so close in print

  function draw(plot, width) {
    const place = drawing(plot.name);
    if (!place) return;
    place.style.zoom = "";
    const kept = state.get(plot.name) || { zoom: null, hidden: new Set() };
    state.set(plot.name, kept);
    const room = Math.floor(width || place.parentElement.clientWidth);
    const wide = Math.max(plot.least, Math.min(room, plot.most || room));
    const layout = layoutOf(plot, wide);
    if (width && wide <= width && plot.height > PAPER_HEIGHT) {
      layout.height = Math.max(PAPER_HEIGHT, Math.ceil(DENSEST * plot.height));
      layout.yaxis.tickfont.size = 10;
    }
    place.style.height = layout.height + "px";
    if (kept.zoom) layout.xaxis.range = kept.zoom;
    const data = coloured(plot.data, getComputedStyle(root), false)
      .map((trace, index) => ({ ...trace, visible: !kept.hidden.has(index) }));
    if (!place.classList.contains("js-plotly-plot")) place.replaceChildren();
    window.Plotly.react(place, data, layout, { displayModeBar: false, responsive: false, doubleClick: "reset" });
    if (width && wide > width) place.style.zoom = String(width / wide); // else the whole page shrinks until it fits
    if (plot.epochs && !place.dataset.heard) {
      place.dataset.heard = "yes";
      place.on("plotly_relayout", shareZoom);
    }
  }

  // Each change is told back by Plotly, later; plots that are there already are left alone, so that it ends.
  function shareZoom(change) {
    const told = change["xaxis.range"] || [change["xaxis.range[0]"], change["xaxis.range[1]"]];
    const reset = Boolean(change["xaxis.autorange"]);
    if (!reset && told[0] === undefined) return;
    for (const plot of plots.filter((each) => each.epochs)) {
      const whole = [-0.5, plot.epochs - 0.5], wanted = reset ? whole : told, place = drawing(plot.name);
      state.get(plot.name).zoom = String(wanted) === String(whole) ? null : [...wanted];
      const shown = place.layout.xaxis;
      if (shown.autorange || String(shown.range) !== String(wanted)) {
        window.Plotly.relayout(place, { "xaxis.range": [...wanted], "xaxis.autorange": false });
      }
    }
  }

  const drawAll = (width) => plots.forEach((plot) => draw(plot, width));

  async function unpack() {
    const packed = document.getElementById("plotly-packed");
    const bytes = Uint8Array.from(atob(packed.textContent), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
    packed.remove();
  }

  async function start() {
    if (!plots.length) return;
    if (typeof DecompressionStream === "undefined") {
      document.querySelectorAll(".waiting").forEach((each) => {
        each.textContent = "This plot needs a browser of 2023 or later; plots/ in the run folder has it as a picture.";
      });
      return;
    }
    await unpack();
    drawAll();
    root.dataset.drawn = "yes";
  }

  document.querySelectorAll("button.key").forEach((button) => {
    button.addEventListener("click", () => {
      if (!window.Plotly) return;
      const on = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(on));
      const plot = plots.find((each) => each.name === button.dataset.plot);
      for (const index of button.dataset.traces.split(",").map(Number)) {
        if (on) state.get(plot.name).hidden.delete(index); else state.get(plot.name).hidden.add(index);
      }
      draw(plot);
    });
  });

  // --- pictures over each other ------------------------------------------------------------------------------------
  function show(sample, index) {
    const layers = sample.querySelectorAll(".layer"), range = sample.querySelector("input.layers");
    layers.forEach((layer, at) => {
      layer.classList.toggle("on", at === index);
      layer.setAttribute("aria-hidden", String(at !== index));
    });
    sample.querySelectorAll(".stops button").forEach((button, at) => button.classList.toggle("on", at === index));
    range.value = String(index);
    range.setAttribute("aria-valuetext", layers[index].dataset.layer);
  }

  const first = (sample) => Math.max(0, [...sample.querySelectorAll(".layer")].findIndex((layer) => layer.dataset.layer === document.body.dataset.own));
  const samples = [...document.querySelectorAll(".sample")].filter((each) => each.querySelector("input.layers"));
  for (const sample of samples) {
    const range = sample.querySelector("input.layers");
    range.addEventListener("input", () => show(sample, Number(range.value)));
    sample.querySelectorAll(".stops button").forEach((button) => {
      button.addEventListener("click", () => { show(sample, Number(button.dataset.stop)); range.focus(); });
    });
    show(sample, first(sample));
  }
  const all = document.getElementById("all-layers");
  if (all) {
    const names = [...new Set(samples.flatMap((each) => [...each.querySelectorAll(".layer")].map((layer) => layer.dataset.layer)))];
    const output = document.querySelector(".all output");
    all.max = String(names.length - 1);
    all.value = String(Math.max(0, names.indexOf(document.body.dataset.own)));
    output.textContent = names[Number(all.value)];
    all.addEventListener("input", () => {
      const name = names[Number(all.value)];
      output.textContent = name;
      all.setAttribute("aria-valuetext", name);
      for (const sample of samples) {
        const index = [...sample.querySelectorAll(".layer")].findIndex((layer) => layer.dataset.layer === name);
        if (index >= 0) show(sample, index);
      }
    });
  }

  // --- what changes around the page --------------------------------------------------------------------------------
  const redraw = () => { if (window.Plotly && !root.classList.contains("printing")) drawAll(); };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  let last = window.innerWidth, waiting = 0;
  window.addEventListener("resize", () => {
    if (window.innerWidth === last) return; // a phone's bars come and go
    last = window.innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(redraw, 120);
  });
  let closed = [];
  window.addEventListener("beforeprint", () => {
    root.classList.add("printing");
    closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach((each) => { each.open = true; });
    if (window.Plotly) drawAll(PAPER_WIDTH);
  });
  window.addEventListener("afterprint", () => {
    root.classList.remove("printing");
    closed.forEach((each) => { each.open = false; });
    redraw();
  });
  start();
})();
