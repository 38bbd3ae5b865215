// Draws every chart of the page, again whenever the theme or the layout changes.
(() => {
  "use strict";
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 800px)");
  const charts = [...document.querySelectorAll("[data-chart]")];
  const drawn = new Map();

  function theme() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const text = colour("--text");
    const soft = colour("--soft");
    const line = colour("--line");
    return {
      background: "transparent",
      font: "system-ui, sans-serif",
      axis: {
        labelColor: text, titleColor: soft, gridColor: line, domainColor: line, tickColor: line,
        titleFontWeight: "normal",
      },
      legend: { labelColor: text, titleColor: soft },
      text: { fill: text },
      view: { stroke: line },
    };
  }

  // Side by side, the layers' names stand at the first chart only; a phone has room for few names.
  function adapt(name, spec) {
    for (const { encoding } of spec.layer || [spec]) {
      const axis = encoding.y.axis;
      if (axis && "labelLimit" in axis) {
        if (narrow.matches) axis.labelLimit = 110;
        else if (name !== "utilisation") Object.assign(axis, { labels: false, ticks: false });
      }
      if (narrow.matches && encoding.color && encoding.color.legend)
        encoding.color.legend.columns = 3;
    }
    for (const param of narrow.matches && spec.params ? spec.params : [])
      if (param.name === "minWidth") param.value *= 4;
      else if (param.name === "letters") param.value = 16;
    return spec;
  }

  async function draw(element) {
    const name = element.dataset.chart;
    const spec = JSON.parse(document.getElementById(`spec-${name}`).textContent);
    const result = await vegaEmbed(element, adapt(name, spec), {
      mode: "vega-lite", actions: false, renderer: "svg", config: theme(),
      tooltip: { theme: dark.matches ? "dark" : "light" },
    });
    drawn.get(name)?.finalize();
    drawn.set(name, result);
  }

  async function drawAll() {
    for (const element of charts) await draw(element);
    document.documentElement.dataset.charts = String(drawn.size);
  }

  let queue = drawAll();
  for (const query of [dark, narrow])
    query.addEventListener("change", () => { queue = queue.then(drawAll); });
})();
