"use strict";
(() => {
  const place = document.getElementById("reliability");
  const source = document.getElementById("reliability-data");
  if (!place || !source || !window.Plotly) return;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");

  // Colours stand in the figure as names of custom properties, so that they follow the page's theme.
  const withColours = (value, styles) => {
    if (Array.isArray(value)) return value.map((entry) => withColours(entry, styles));
    if (value && typeof value === "object")
      return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, withColours(entry, styles)]));
    return typeof value === "string" && value.startsWith("--") ? styles.getPropertyValue(value).trim() : value;
  };

  const draw = () => {
    const styles = getComputedStyle(document.documentElement);
    const colour = (name) => styles.getPropertyValue(name).trim();
    const figure = withColours(JSON.parse(source.textContent), styles);
    const layout = figure.layout;
    layout.font = { family: styles.fontFamily, color: colour("--muted"), size: 13 };
    layout.paper_bgcolor = layout.plot_bgcolor = "rgba(0,0,0,0)";
    layout.hoverlabel = { bgcolor: colour("--card"), bordercolor: colour("--line"), font: { color: colour("--text") } };
    for (const axis of ["xaxis", "yaxis", "yaxis2"])
      Object.assign(layout[axis], { gridcolor: colour("--line"), zerolinecolor: colour("--line") });
    window.Plotly.react(place, figure.data, layout, { displayModeBar: false, responsive: true });
  };
  draw();
  dark.addEventListener("change", draw);
})();
