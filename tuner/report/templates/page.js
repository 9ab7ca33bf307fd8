"use strict";
(function () {
  // Closed details are opened for paper, and closed again afterwards.
  let opened = [];
  window.addEventListener("beforeprint", function () {
    opened = Array.from(document.querySelectorAll("details:not([open])"));
    opened.forEach(function (d) { d.open = true; });
  });
  window.addEventListener("afterprint", function () {
    opened.forEach(function (d) { d.open = false; });
    opened = [];
  });

  const packed = document.getElementById("plotly");
  const charts = Array.from(document.querySelectorAll(".chart"));
  if (!packed || !charts.length || !("DecompressionStream" in window)) { return; }

  async function unpack(text) {
    const bytes = Uint8Array.from(atob(text.trim()), function (c) { return c.charCodeAt(0); });
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  }

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  }

  function themed(layout) {
    const rule = colour("rule");
    const out = Object.assign({}, layout, {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: "inherit", size: 12, color: colour("ink") },
      hoverlabel: { bgcolor: colour("card"), bordercolor: colour("quiet"), font: { color: colour("ink") }, align: "left" },
      margin: Object.assign({ l: 60, r: 16, t: 30, b: 50 }, layout.margin || {}),
    });
    ["xaxis", "yaxis", "yaxis2", "yaxis3", "yaxis4"].forEach(function (axis) {
      if (layout[axis] || axis === "xaxis" || axis === "yaxis") {
        out[axis] = Object.assign({}, layout[axis] || {}, { gridcolor: rule, zerolinecolor: rule, linecolor: rule });
      }
    });
    return out;
  }

  async function draw() {
    const script = document.createElement("script");
    script.textContent = await unpack(packed.textContent);
    document.head.appendChild(script);
    if (!window.Plotly) { return; }
    for (const chart of charts) {
      const spec = JSON.parse(chart.querySelector("script").textContent);
      const place = chart.querySelector(".live");
      place.hidden = false;
      const again = function () {
        const options = { responsive: true, displaylogo: false, displayModeBar: false, typesetMath: false };
        return window.Plotly.react(place, spec.data, themed(spec.layout), options);
      };
      await again();
      chart.classList.add("drawn");
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
    }
    window.dispatchEvent(new Event("resize"));
    document.documentElement.dataset.charts = "drawn";
  }

  window.addEventListener("load", function () {
    draw().catch(function (error) {
      // The pictures beneath stay; say why, for whoever looks.
      document.documentElement.dataset.charts = "failed";
      console.error("interactive charts: " + error);
    });
  });
})();
