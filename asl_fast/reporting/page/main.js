// SPDX-License-Identifier: Apache-2.0
// Builds the page: its head at once, so that there is something to read, then one section after the other.

const SECTIONS = [
  ["Training", "training", "Means over the steps around each point.", training],
  ["Scores", "scores", "", scores],
  ["Errors", "errors", "", errors],
  ["Confusion", "confusion", "", confusion],
  [
    "Sensitivity",
    "sensitivity",
    "How much each moment of an action counts in training: the higher the curve, the heavier. " +
      "The shaded part is the action itself.",
    sensitivity,
  ],
];

function start() {
  const page = JSON.parse(document.getElementById("content").textContent);
  const main = document.querySelector("main");
  const names = page.runs.map((run) => run.name).join(" and ");
  const sections = [["Overview", "overview"], ["Videos", "videos"], ...SECTIONS];
  const links = sections.map(([name, id]) => html("a", { href: `#${id}` }, name));
  document.querySelector("header").append(
    html(
      "div",
      { class: "title" },
      html("h1", {}, page.title),
      html("p", {}, page.runs.length > 1 ? `comparison of ${names}` : `run ${names}`),
    ),
    html("nav", { "aria-label": "Sections" }, links),
    themeButton(),
  );
  document.body.append(tip);
  if (!("DecompressionStream" in window)) {
    main.append(empty("This browser is too old: Chrome 111, Firefox 113, Safari 16.4 and newer ones show the page."));
    return;
  }
  main.append(section("Overview", "overview", "", overview(page)));
  const waiting = [
    () => section("Videos", "videos", "", videos(page)),
    ...SECTIONS.map(([name, id, note, build]) => () => section(name, id, note, build(page))),
  ];
  const next = () => {
    const build = waiting.shift();
    if (!build) {
      document.documentElement.dataset.ready = "all";
      performance.mark("asl_fast: all sections");
      return;
    }
    main.append(build());
    setTimeout(next);
  };
  // After the first frame was painted.
  requestAnimationFrame(() => setTimeout(next));
}

const opened = [];

// Figures are drawn anew at the width of the paper, so that their text is as large as the rest, and how a run was made
// is laid open, which nobody can click there.
function onPaper(paper) {
  document.documentElement.classList.toggle("paper", paper);
  for (const place of document.querySelectorAll(".plot")) place.draw();
  if (paper) opened.push(...document.querySelectorAll(".about details:not([open])"));
  for (const each of paper ? opened : opened.splice(0)) each.open = paper;
}

window.addEventListener("beforeprint", () => onPaper(true));
window.addEventListener("afterprint", () => onPaper(false));

function section(name, id, note, content) {
  return html(
    "section",
    { id, "aria-labelledby": `${id}-title` },
    html("h2", { id: `${id}-title` }, name),
    note && html("p", { class: "note" }, note),
    content,
  );
}

start();
