// SPDX-License-Identifier: Apache-2.0
// Precision over recall, whose area is the average precision.

function precisionRecall(page) {
  const tious = thresholdsOf(mainMeasures(page));
  const half = tious.findIndex((tiou) => Math.abs(tiou - page.tiou) < 1e-6);
  const state = { tiou: Math.max(half, 0), label: 0, curves: page.runs.map(() => null) };
  const labels = [...new Set(page.runs.flatMap((run) => run.scores?.classes ?? []))];
  const redraw = (name) => (place) => {
    state[name] = place;
    node.draw();
  };
  const controls = [
    choice("of", ["all classes, mean", ...labels.map((label) => page.classes[label])], redraw("label")),
    choice("at tIoU", tious.map(String), redraw("tiou"), state.tiou),
  ];
  const draw = (width) => {
    if (!state.curves.some(Boolean)) return empty("…");
    const series = page.runs.flatMap(
      (run, i) => (state.curves[i] ? curvesOf(run, i, state, tious, labels, page.runs.length === 1) : []),
    );
    const share = { format: (value) => percent(value, 0), domain: [0, 1] };
    return lines(
      width,
      {
        height: 260,
        series,
        x: { ...share, name: "recall, %", read: "recall %" },
        y: { ...share, name: "precision, %", read: (value) => `${percent(value)} %` },
        label: "Precision over recall",
      },
    );
  };
  const node = figure("Precision and recall", draw, { controls });
  page.runs.forEach(async (run, i) => {
    if (!run.scores) return;
    state.curves[i] = (await unpack(run.scores.curves.packed)).precision;
    node.draw();
  });
  return node;
}

function curvesOf(run, place, state, tious, labels, withQuiet) {
  const { classes, curves, measures } = run.scores;
  const row = placeOf(measures[0], tious[state.tiou]);
  if (row < 0) return [];
  const count = curves.points;
  const curve = (column) => {
    const begin = (row * classes.length + column) * count;
    return Array.from({ length: count }, (_, i) => state.curves[place][begin + i] / 255);
  };
  const trace = (values) => values.map((value, i) => [i / (count - 1), value]);
  if (state.label) {
    const column = classes.indexOf(labels[state.label - 1]);
    return column < 0 ? [] : [{ name: run.name, kind: `run${place}`, points: trace(curve(column)) }];
  }
  const all = classes.map((_, column) => curve(column));
  const mean = all[0].map((_, i) => all.reduce((sum, each) => sum + each[i], 0) / all.length);
  // Single classes stand behind their mean, where they are few enough to be seen.
  const seen = withQuiet && all.length > 1 && all.length <= 40 ? all : [];
  const quiet = seen.map((each) => ({ name: "", kind: `run${place}`, quiet: true, points: trace(each) }));
  return [...quiet, { name: `mean, ${run.name}`, kind: `run${place}`, points: trace(mean) }];
}
