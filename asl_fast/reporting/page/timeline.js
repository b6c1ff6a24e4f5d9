// SPDX-License-Identifier: Apache-2.0
// One video: a row per class, annotated actions above detections, with what the pointer is on.

const LANE = 10;

// What happened in video `number`: annotations, and the detections of each run that score at least its threshold.
function scene(page, data, number, thresholds) {
  const tick = page.tick;
  const truth = [];
  for (let i = data.truthOffsets[number]; i < data.truthOffsets[number + 1]; i++) {
    const start = data.truth.start[i] * tick;
    const found = page.runs.map((run, r) => data.truth[`found${r}`][i]);
    truth.push({ label: data.truth.label[i], start, end: start + data.truth.length[i] * tick, found });
  }
  const detections = data.runs.map((run, r) => {
    const list = [];
    if (!run) return list;
    for (let i = run.offsets[number]; i < run.offsets[number + 1]; i++) {
      if (run.score[i] < thresholds[r]) continue;
      const start = run.start[i] * tick;
      list.push(
        {
          run: r,
          label: run.label[i],
          start,
          end: start + run.length[i] * tick,
          score: run.score[i] / 65535,
          kind: run.kind[i],
        },
      );
    }
    return list.sort((a, b) => a.score - b.score);
  });
  const ends = [...truth, ...detections.flat()].map((each) => each.end);
  const length = Math.max(page.videos.durations[number] ?? 0, ...ends, 0);
  const first = Math.min(0, ...truth.map((each) => each.start), ...detections.flat().map((each) => each.start));
  return { truth, detections, first, last: length > first ? length : first + 1, rows: rowsOf(truth, detections) };
}

// Annotated classes by their first start, then others that were detected, the surest first.
function rowsOf(truth, detections) {
  const rows = [...new Set([...truth].sort((a, b) => a.start - b.start).map((each) => each.label))];
  const surest = new Map();
  for (const each of detections.flat()) surest.set(each.label, Math.max(surest.get(each.label) ?? 0, each.score));
  const others = [...surest.keys()].filter((label) => !rows.includes(label));
  return [...rows, ...others.sort((a, b) => surest.get(b) - surest.get(a))];
}

// view: {from, to, cursor}; thresholds as 16 bits.
function drawTimeline(page, shown, view, thresholds, width) {
  const runs = page.runs.length;
  const left = Math.min(150, width * 0.25);
  const right = 12;
  const [above, tall] = [24, 14 + LANE * (1 + runs) + 3 * runs];
  const height = above + Math.max(1, shown.rows.length) * tall + 6;
  const toX = (time) => left + ((time - view.from) / (view.to - view.from)) * (width - left - right);
  const visible = (each) => each.end >= view.from && each.start <= view.to;
  const span = (each) => {
    const from = Math.max(left, toX(each.start));
    return { x: from.toFixed(2), width: Math.max(1.5, Math.min(width - right, toX(each.end)) - from).toFixed(2) };
  };
  const rowY = new Map(shown.rows.map((label, place) => [label, above + place * tall]));
  const bands = shown.rows.map((label, place) => [
    svg("rect", { class: place % 2 ? "band" : "band even", x: 0, y: above + place * tall, width, height: tall }),
    svg(
      "text",
      { class: "label", x: left - 10, y: above + place * tall + tall / 2 + 4, "text-anchor": "end" },
      clip(page.classes[label], left - 12),
    ),
  ]);
  const axis = ticks(view.from, view.to, (width - left - right) / 90).map((time) => [
    svg("line", { class: "grid", x1: toX(time), x2: toX(time), y1: above - 4, y2: height - 6 }),
    svg(
      "text",
      { class: "tick", x: toX(time), y: 13, "text-anchor": "middle" },
      view.to < 600 ? `${short(time)} s` : clock(time),
    ),
  ]);
  const truth = shown.truth.filter(visible).map((each) => {
    const top = rowY.get(each.label) + 6;
    // With two runs each has its half: full where it found the action, hatched where not.
    const parts = page.runs.map((run, r) => {
      const hit = each.found[r] > 0 && each.found[r] >= thresholds[r];
      const box = { y: top + (r * LANE) / runs, height: LANE / runs, ...span(each) };
      const kind = `truth ${run.finished && !hit ? "missed" : "hit"}${runs > 1 ? " half" : ""}`;
      return mark(kind, box, () => readTruth(page, each, thresholds));
    });
    if (runs === 1) return parts;
    return [parts, svg("rect", { class: "truth outline", y: top, height: LANE, ...span(each), rx: 1.5 })];
  });
  const found = shown.detections.flat().filter(visible).map((each) => {
    const y = rowY.get(each.label) + 6 + (LANE + 3) * (each.run + 1);
    const kind = each.kind === 0 ? "right" : each.kind === 255 ? "ignored" : "wrong";
    const box = mark(
      `found run${each.run} ${kind}`,
      { y, height: LANE, ...span(each) },
      () => readDetection(page, shown, each),
    );
    box.style.setProperty("--score", `${(25 + 75 * each.score).toFixed(0)}%`);
    return box;
  });
  const cursor = view.cursor === null || view.cursor < view.from || view.cursor > view.to ? null : svg(
    "line",
    { class: "cursor", x1: toX(view.cursor), x2: toX(view.cursor), y1: above - 6, y2: height - 4 },
  );
  const node = drawing(
    width,
    height,
    `Timeline of ${shown.truth.length} annotated actions and ${found.length} detections`,
    bands,
    axis,
    truth,
    found,
    cursor,
  );
  node.toTime = (x) => view.from + ((x - left) / (width - left - right)) * (view.to - view.from);
  node.inside = (x) => x >= left && x <= width - right;
  return node;
}

function mark(kind, box, read) {
  const node = svg("rect", { class: kind, ...box, rx: kind.endsWith("half") ? 0 : 1.5 });
  node.read = read;
  return node;
}

function readTruth(page, each, thresholds) {
  const found = page.runs
    .map((run, r) => {
      if (!run.finished) return null;
      const name = page.runs.length > 1 ? run.name : "detected";
      if (!each.found[r]) return [name, "no, at no score"];
      const score = (each.found[r] / 65535).toFixed(3);
      return [name, each.found[r] >= thresholds[r] ? `yes, score ${score}` : `only with score ${score}`];
    })
    .filter(Boolean);
  return [page.classes[each.label], ["annotated", range(each)], ["length", seconds(each.end - each.start)], ...found];
}

const range = (each) => `${each.start.toFixed(2)} – ${each.end.toFixed(2)} s`;

function readDetection(page, shown, each) {
  const lines = [
    page.classes[each.label],
    [page.runs.length > 1 ? page.runs[each.run].name : "detected", range(each)],
    ["score", each.score.toFixed(3)],
    ["kind", each.kind === 255 ? "class without annotation" : page.kinds[each.kind]],
  ];
  const on = shown.truth.map((other) => [overlap(each, other), other]).filter(([share]) => share > 0);
  // The one that decides its kind: what it overlaps most, of its own class where two are alike.
  on.sort((a, b) => b[0] - a[0] || (b[1].label === each.label) - (a[1].label === each.label));
  if (on.length) lines.push(["lies on", `${page.classes[on[0][1].label]}, tIoU ${on[0][0].toFixed(2)}`]);
  return lines;
}

function overlap(a, b) {
  const shared = Math.max(0, Math.min(a.end, b.end) - Math.max(a.start, b.start));
  const union = a.end - a.start + b.end - b.start - shared;
  return union > 0 ? shared / union : 0;
}

// The whole video in a strip: where there are annotated actions, and which part is shown above.
function drawStrip(shown, view, width) {
  const left = Math.min(150, width * 0.25);
  const toX = (time) => left + ((time - shown.first) / (shown.last - shown.first)) * (width - left - 12);
  const bars = shown.truth.map(
    (each) => svg(
      "rect",
      { class: "truth hit", x: toX(each.start), y: 4, width: Math.max(1, toX(each.end) - toX(each.start)), height: 6 },
    ),
  );
  const window = svg(
    "rect",
    {
      class: "window",
      x: toX(view.from),
      y: 0.5,
      width: Math.max(3, toX(view.to) - toX(view.from)),
      height: 13,
      rx: 2,
    },
  );
  const node = drawing(
    width,
    14,
    "The whole video and the part that is shown",
    svg("rect", { class: "track", x: left, y: 4, width: width - left - 12, height: 6 }),
    bars,
    window,
  );
  node.toTime = (x) => shown.first + ((x - left) / (width - left - 12)) * (shown.last - shown.first);
  return node;
}
