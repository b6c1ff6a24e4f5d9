// SPDX-License-Identifier: Apache-2.0
// The list of videos, the timeline of the chosen one, and what mouse and keyboard do to it.

const STEP = 0.01;
const KEYS = "← → move · + − zoom · 0 whole video · ↑ ↓ other video · [ ] score · n p next and previous action";

function videos(page) {
  if (!page.videos.names.length) return [empty("Timelines appear when the run has finished.")];
  const state = {
    page,
    data: null,
    number: 0,
    thresholds: page.runs.map((run) => Math.floor((run.scores?.best_score ?? 0.1) / STEP) * STEP),
    view: { from: 0, to: 1, cursor: null },
    shown: null,
  };
  const parts = { title: html("h3", {}), counts: html("p", { class: "counts" }), player: playerOf(page) };
  parts.area = html("div", { class: "area", tabindex: 0, role: "application" });
  parts.below = html("div");
  parts.drawn = html("div", {}, parts.area, parts.below);
  const draw = (width) => (state.data ? drawAll(state, parts, width) : empty("…"));
  parts.figure = figure("", draw, { kind: "timeline" });
  parts.list = videoList(page, state, (number) => choose(state, parts, number));
  parts.sliders = page.runs.map((run, r) => (run.finished ? slider(state, parts, run, r) : null));
  const tools = html(
    "div",
    { class: "tools" },
    parts.sliders.filter(Boolean).map((each) => each.node),
    html(
      "div",
      { class: "buttons" },
      [["−", "Zoom out", 1.6], ["+", "Zoom in", 1 / 1.6], ["Whole", "Show the whole video", 0]].map(
        ([text, label, factor]) => html(
          "button",
          { type: "button", "aria-label": label, title: label, click: () => zoom(state, parts, factor) },
          text,
        ),
      ),
    ),
  );
  parts.figure.prepend(
    html("div", { class: "videohead" }, parts.title, parts.counts),
    parts.player?.node ?? "",
    tools,
    timelineLegend(page),
  );
  parts.figure.append(html("p", { class: "note keys" }, keys(page)));
  parts.table = html(
    "details",
    { class: "table" },
    html("summary", {}, "Annotated actions as a table"),
    html("div", { class: "scroll" }),
  );
  parts.table.addEventListener("toggle", () => fillTable(state, parts));
  parts.figure.append(parts.table);
  control(state, parts);
  load(page).then((data) => {
    state.data = data;
    choose(state, parts, mostClasses(page, data));
    performance.mark("asl_fast: timeline");
    document.documentElement.dataset.timeline = "drawn";
  });
  return [limits(page), html("div", { class: "videos" }, parts.list.node, parts.figure)];
}

const keys = (page) => (page.videos.media ? `${KEYS} · Space play` : KEYS);

async function load(page) {
  const [truth, ...runs] = await Promise.all(
    [page.truth.packed, ...page.runs.map((run) => run.detections?.packed)].map((packed) => packed && unpack(packed)),
  );
  page.runs.forEach((run, r) => {
    if (runs[r]) runs[r].offsets = offsets(run.detections.per_video);
  });
  return { truth, truthOffsets: offsets(page.truth.per_video), runs };
}

// The video to begin with: the one with actions of most classes.
function mostClasses(page, data) {
  const counts = page.truth.per_video.map(
    (_, number) => new Set(data.truth.label.subarray(data.truthOffsets[number], data.truthOffsets[number + 1])).size,
  );
  return counts.indexOf(Math.max(...counts));
}

function limits(page) {
  const cut = page.runs.find((run) => run.detections?.limit);
  if (!cut) return null;
  const { limit, total } = cut.detections;
  return html(
    "p",
    { class: "note" },
    `Timelines hold the ${plural(limit, "surest detection")} of each video; scores count all ${whole(total)}.`,
  );
}

function timelineLegend(page) {
  const keys = [[boxSwatch("truth hit"), "annotated and found"], [boxSwatch("truth missed"), "annotated, missed"]];
  page.runs.forEach((run, r) => {
    const name = page.runs.length > 1 ? `${run.name}: ` : "";
    keys.push(
      [boxSwatch(`found run${r} right`), `${name}detected, right`],
      [boxSwatch(`found run${r} wrong`), `${name}detected, wrong`],
    );
  });
  return html(
    "div",
    { class: "keysof" },
    legend(keys),
    html("span", { class: "note" }, `paler: less sure; right and found: tIoU of at least ${page.tiou}`),
  );
}

function slider(state, parts, run, r) {
  const output = html("output", {});
  const input = html(
    "input",
    {
      type: "range",
      min: 0,
      max: 1,
      step: STEP,
      value: state.thresholds[r],
      class: `run${r}`,
      "aria-label": `Lowest score shown, ${run.name}`,
    },
  );
  const show = () => (output.textContent = state.thresholds[r].toFixed(2));
  input.addEventListener("input", () => {
    state.thresholds[r] = Number(input.value);
    refresh(state, parts);
  });
  show();
  const label = state.page.runs.length > 1 ? `score from, ${run.name}` : "score from";
  return {
    node: html("label", { class: "slider" }, label, input, output),
    show: () => ((input.value = state.thresholds[r]), show()),
  };
}

function choose(state, parts, number) {
  state.number = number;
  const whole = scene(state.page, state.data, number, bits(state));
  state.view = { from: whole.first, to: whole.last, cursor: null };
  parts.player?.open(state.page.videos.media[number]);
  refresh(state, parts);
  parts.list.reveal(number);
}

const bits = (state) => state.thresholds.map((score) => Math.round(score * 65535));

// After a change of video or score.
function refresh(state, parts) {
  const { page, data, number } = state;
  if (!data) return;
  state.shown = scene(page, data, number, bits(state));
  parts.title.textContent = page.videos.names[number];
  const length = page.videos.durations[number];
  const sums = page.runs.map(
    (run, r) => (
      run.finished ? `${page.runs.length > 1 ? `${run.name}: ` : ""}${inWords(
        tally(page, data, number, r, bits(state)[r]),
        run,
        number,
      )}` : null
    ),
  );
  parts.counts.textContent = [
    length === null ? null : duration(length),
    plural(state.shown.truth.length, "annotated action"),
    ...sums,
  ].filter(Boolean).join(" · ");
  for (const each of parts.sliders) each?.show();
  parts.list.draw();
  parts.figure.draw();
  fillTable(state, parts);
}

// Annotated actions found, missed, and detections that are wrong, from a score on.
function tally(page, data, number, r, threshold) {
  let [found, wrong, detections] = [0, 0, 0];
  const [begin, end] = [data.truthOffsets[number], data.truthOffsets[number + 1]];
  const scores = data.truth[`found${r}`];
  for (let i = begin; i < end; i++) found += scores[i] > 0 && scores[i] >= threshold;
  const run = data.runs[r];
  if (run) {
    for (let i = run.offsets[number]; i < run.offsets[number + 1]; i++) {
      if (run.score[i] < threshold) continue;
      detections += 1;
      wrong += run.kind[i] !== 0 && run.kind[i] !== 255;
    }
  }
  return { annotated: end - begin, found, wrong, detections };
}

function inWords({ annotated, found, wrong }, run, number) {
  if (!run.detections.scored[number]) return "not in its test split";
  return `${found} found, ${annotated - found} missed, ${wrong} wrong`;
}

function drawAll(state, parts, width) {
  const { page, shown, view } = state;
  parts.timeline = drawTimeline(page, shown, view, bits(state), width);
  parts.area.setAttribute("aria-label", `Timeline of ${page.videos.names[state.number]}. ${keys(page)}`);
  parts.area.replaceChildren(parts.timeline);
  parts.strip = view.from > shown.first || view.to < shown.last ? drawStrip(shown, view, width) : null;
  const none = shown.rows.length ? null : empty("Nothing is annotated here, and nothing scores as high as chosen.");
  parts.below.replaceChildren(...[parts.strip, none].filter(Boolean));
  return parts.drawn;
}

function fillTable(state, parts) {
  if (!parts.table.open || !state.shown) return;
  const { page, shown } = state;
  const thresholds = bits(state);
  const head = [
    "class",
    "start, s",
    "end, s",
    ...page.runs.filter((run) => run.finished).map(
      (run) => (page.runs.length > 1 ? `found by ${run.name}, score` : "found with score"),
    ),
  ];
  const rows = shown.truth.map((each) => {
    const found = page.runs.flatMap(
      (run, r) => (
        run.finished ? [
          each.found[r] >= thresholds[r] && each.found[r] ? (each.found[r] / 65535).toFixed(3) : "missed",
        ] : []
      ),
    );
    return html(
      "tr",
      {},
      html("th", { scope: "row" }, page.classes[each.label]),
      [each.start.toFixed(2), each.end.toFixed(2), ...found].map((text) => html("td", {}, text)),
    );
  });
  const table = html(
    "table",
    {},
    html("thead", {}, html("tr", {}, head.map((text) => html("th", { scope: "col" }, text)))),
    html("tbody", {}, rows),
  );
  parts.table.lastElementChild.replaceChildren(table);
}
