"use strict";

const dialog = document.getElementById("network");

/* Networks: a template each, shown in the one dialog of the page. */
function openNetwork(key) {
  const template = document.getElementById(`network-${key}`);
  if (!template) return;
  dialog.querySelector(".content").replaceChildren(template.content.cloneNode(true));
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

async function copy(button) {
  const source = button.closest(".copied").querySelector("code, pre");
  let said = "Copied";
  try {
    await navigator.clipboard.writeText(source.textContent);
  } catch { // not allowed here: the old way
    getSelection().selectAllChildren(source);
    if (!document.execCommand("copy")) said = "Selected: press Ctrl+C";
  }
  button.textContent = said;
  setTimeout(() => { button.textContent = "Copy"; }, 3000);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.open !== undefined) openNetwork(button.dataset.open);
  else if (button?.classList.contains("copy")) copy(button);
  else if (button?.classList.contains("close") || event.target === dialog) dialog.close();
});

/* Plots: colours are the page's, so that they follow light and dark. */
async function loadPlotly() {
  const packed = atob(document.getElementById("plotly").textContent);
  const bytes = Uint8Array.from(packed, (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
}

function coloured(value, key = "") {
  if (Array.isArray(value)) return value.map((one) => coloured(one, key));
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, coloured(v, k)]));
  }
  const name = /color$/i.test(key) && /^var\((--[a-z0-9-]+)\)$/.exec(value);
  return name ? getComputedStyle(document.documentElement).getPropertyValue(name[1]).trim() : value;
}

function laidOut(own) {
  const axis = {
    automargin: true, gridcolor: "var(--line)", linecolor: "var(--line)", zeroline: false,
    title: { standoff: 10, font: { size: 13 } },
  };
  const touched = matchMedia("(pointer: coarse)").matches; // there, dragging scrolls the page
  return {
    autosize: true, height: 420, hovermode: "closest", dragmode: touched ? false : "zoom",
    margin: { l: 8, r: 8, t: 8, b: 8 }, paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)", font: { color: "var(--text)", size: 13 },
    legend: { orientation: "h", y: -0.2, itemclick: false, itemdoubleclick: false },
    hoverlabel: { bgcolor: "var(--card)", bordercolor: "var(--soft)", font: { color: "var(--text)" }, align: "left" },
    ...own,
    xaxis: { ...axis, ...own.xaxis, title: { ...axis.title, ...own.xaxis?.title } },
    yaxis: { ...axis, ...own.yaxis, title: { ...axis.title, ...own.yaxis?.title } },
  };
}

async function draw() {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const places = [...document.querySelectorAll(".plot")];
  const drawAll = () => Promise.all(places.map((place) => Plotly.react(
    place, coloured(figures[place.dataset.figure].data), coloured(laidOut(figures[place.dataset.figure].layout)),
    { displayModeBar: false, responsive: true },
  )));
  await loadPlotly();
  await drawAll();
  for (const place of places) {
    place.on("plotly_click", ({ points }) => openNetwork(points[0].customdata));
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  document.documentElement.dataset.drawn = "yes";
}

draw().catch((error) => {
  for (const place of document.querySelectorAll(".plot")) {
    place.textContent = `This browser cannot draw the plots (${error.message}).`;
  }
});
