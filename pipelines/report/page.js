"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const json = (element) => JSON.parse(element.textContent);

  // Thumbnails stand once in the page, however often they are shown.
  const pictures = json(document.getElementById("pictures"));
  for (const image of all("img[data-picture]")) image.src = pictures[image.dataset.picture];

  // Charts. Colours stand in the figures as names of custom properties, so that they follow the page's theme.
  const withColours = (value, styles) => {
    if (Array.isArray(value)) return value.map((entry) => withColours(entry, styles));
    if (value && typeof value === "object")
      return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, withColours(entry, styles)]));
    return typeof value === "string" && value.startsWith("--") ? styles.getPropertyValue(value).trim() : value;
  };
  const figures = new Map(all("script[data-chart]").map((source) => [source.dataset.chart, json(source)]));
  const draw = (id) => {
    const place = document.getElementById(id);
    if (!window.Plotly || place.closest("[hidden]")) return;
    const styles = getComputedStyle(document.documentElement);
    const colour = (name) => styles.getPropertyValue(name).trim();
    const { data, layout } = withColours(figures.get(id), styles);
    layout.font = { family: styles.fontFamily, color: colour("--muted"), size: 13 };
    layout.paper_bgcolor = layout.plot_bgcolor = "rgba(0,0,0,0)";
    layout.hoverlabel = { bgcolor: colour("--card"), bordercolor: colour("--line"), font: { color: colour("--text") } };
    for (const name of Object.keys(layout).filter((key) => /^[xy]axis/.test(key)))
      layout[name] = { gridcolor: colour("--line"), zerolinecolor: colour("--line"), ...layout[name] };
    const first = !place.classList.contains("js-plotly-plot");
    if (layout.meta && place.clientWidth < 520) Object.assign(layout.yaxis, layout.meta.narrow);
    window.Plotly.react(place, data, layout, { displayModeBar: false, responsive: true });
    const tell = ({ points: [{ customdata }] }) =>
      place.dispatchEvent(new CustomEvent("point", { bubbles: true, detail: customdata }));
    if (first) place.on("plotly_hover", tell);
  };
  const drawAll = (root = document) => all("script[data-chart]", root).forEach((source) => draw(source.dataset.chart));

  // A threshold and what follows from it; the counts above each threshold stand in the page.
  const percent = (part, whole) => (whole > 0 ? `${((100 * part) / whole).toFixed(1)}%` : "–");
  const count = (value) => value.toLocaleString("en", { maximumFractionDigits: 1 });
  const ratesAt = ({ positives, negatives, true_positives, false_positives }, place) => {
    const [hit, alarm] = [true_positives[place], false_positives[place]];
    return {
      true_positive_rate: [hit, positives],
      precision: [hit, hit + alarm],
      false_positive_rate: [alarm, negatives],
      false_negative_rate: [positives - hit, positives],
      false_discovery_rate: [alarm, hit + alarm],
      positive_rate: [hit + alarm, positives + negatives],
    };
  };
  for (const box of all(".thresholds")) {
    const { thresholds, classes } = json(box.querySelector(".curves"));
    const [choice, slider] = [box.querySelector("select"), box.querySelector("input")];
    const figure = figures.get(box.dataset.chartId);
    const tell = () => {
      const [entry, place] = [classes[choice.value], Number(slider.value)];
      const [rates, threshold] = [ratesAt(entry, place), thresholds[place]];
      for (const cell of all("[data-rate]", box)) cell.textContent = percent(...rates[cell.dataset.rate]);
      const text = String(Math.round(threshold * 1000) / 1000);
      box.querySelector("output").textContent = text;
      slider.setAttribute("aria-valuetext", text);
      const [hit, called] = rates.precision;
      box.querySelector(".outcome").textContent =
        `Above ${text}, ${count(called)} are called ${entry.name}: ${count(hit)} of the ${count(entry.positives)} that ` +
        `are, and ${count(called - hit)} of the ${count(entry.negatives)} that are not.`;
      for (const line of figure.data) {
        line.x = thresholds;
        line.y = thresholds.map((_, at) => ratesAt(entry, at)[line.meta]).map(([part, whole]) => (whole ? part / whole : null));
      }
      Object.assign(figure.layout.shapes[0], { x0: threshold, x1: threshold });
    };
    const change = () => { tell(); draw(box.dataset.chartId); };
    choice.addEventListener("change", change);
    slider.addEventListener("input", change);
    tell();
  }
  drawAll();
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll());

  // A select shows one of several panels.
  for (const select of all("select.panels"))
    select.addEventListener("change", () => {
      for (const option of select.options) document.getElementById(option.value).hidden = !option.selected;
      drawAll(document.getElementById(select.value));
    });

  // A button opens its panel and takes the reader there; Escape, or the panel's own button, goes back.
  const openers = all("button[aria-controls]");
  const show = (opener, open) => {
    opener.setAttribute("aria-expanded", open);
    document.getElementById(opener.getAttribute("aria-controls")).hidden = !open;
  };
  for (const opener of openers) {
    const panel = document.getElementById(opener.getAttribute("aria-controls"));
    const close = () => { show(opener, false); opener.focus(); };
    opener.addEventListener("click", () => {
      const opens = panel.hidden;
      for (const other of openers.filter((one) => opener.closest("section").contains(one))) show(other, false);
      if (!opens) return;
      show(opener, true);
      drawAll(panel);
      panel.focus();
    });
    panel.addEventListener("keydown", (event) => { if (event.key === "Escape") close(); });
    for (const button of all("button.close", panel)) button.addEventListener("click", close);
  }

  // The points of a map are looked at one by one: under the pointer, or with the slider's keys.
  for (const map of all(".map")) {
    const points = json(map.querySelector(".map-points")), places = json(map.querySelector(".map-places"));
    const slider = map.querySelector("input"), image = map.querySelector(".seen img");
    const [text, address] = all("figcaption span", map);
    const look = (number) => {
      const { uri, text: words, x, y } = points[number], place = places[number];
      slider.value = number;
      slider.setAttribute("aria-valuetext", `${words}: ${uri}`);
      [text.textContent, address.textContent] = [words, uri];
      image.hidden = place === null;
      image.nextElementSibling.hidden = place !== null;
      if (place !== null) [image.src, image.alt] = [pictures[place], words];
      for (const chart of all(".chart.js-plotly-plot", map))
        window.Plotly.restyle(chart, { x: [[x]], y: [[y]] }, [chart.data.length - 1]);
    };
    map.addEventListener("point", (event) => { if (event.detail !== undefined) look(event.detail); });
    const again = () => look(Number(slider.value));
    slider.addEventListener("input", again);
    for (const select of all("select", map)) select.addEventListener("change", again);
    const begin = places.findIndex((place) => place !== null);
    look(Math.max(begin, 0));
  }

  // Tables are sorted by their heads; what is undefined stays last.
  const valueOf = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
  const compare = (first, second) => {
    const [one, other] = [Number(first), Number(second)];
    return Number.isNaN(one) || Number.isNaN(other) ? first.localeCompare(second) : one - other;
  };
  for (const table of all("table.sortable")) {
    const heads = all("thead th", table);
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...table.tBodies[0].rows].map((row) => [valueOf(row, column), row]);
        rows.sort(([a], [b]) => (a === "") - (b === "") || (down ? compare(b, a) : compare(a, b)));
        table.tBodies[0].append(...rows.map(([, row]) => row));
      });
    });
  }
})();
