// SPDX-License-Identifier: Apache-2.0
// Mean average precision per threshold and per class, and the curves whose area it is.

function scores(page) {
  const scored = page.runs.filter((run) => run.scores);
  if (!scored.length) return [empty("There are no scores before the run has finished.")];
  return [
    runLegend(page),
    html("div", { class: "halves" }, perThreshold(page), precisionRecall(page)),
    html("div", { class: "groups" }, scored[0].scores.measures.map((measure) => thresholdTable(page, measure.name))),
    perClass(page),
  ];
}

function perThreshold(page) {
  const main = page.runs.find((run) => run.scores).scores.measures[0];
  const series = page.runs.flatMap((run, i) => {
    const measure = run.scores?.measures[0];
    return measure ? [
      {
        name: run.name,
        kind: `run${i}`,
        points: measure.tious.map((tiou, place) => [tiou, measure.rows[0].values[place]]),
      },
    ] : [];
  });
  const few = main.tious.length === 1;
  const domain = few ? [main.tious[0] - 0.05, main.tious[0] + 0.05] : [
    main.tious[0],
    main.tious[main.tious.length - 1],
  ];
  const x = {
    domain,
    name: "temporal IoU from which a detection is right",
    read: "tIoU",
    ticks: main.tious.filter((_, i) => i % Math.ceil(main.tious.length / 9) === 0),
  };
  const y = {
    domain: [0, 1],
    name: "mAP, %",
    format: (value) => percent(value, 0),
    read: (value) => `${percent(value)} %`,
  };
  return figure(
    "mAP per threshold",
    (width) => lines(width, { height: 260, series, x, y, marks: true, label: "mAP per tIoU" }),
  );
}

// One measure: a column per threshold and their average, or columns of its own.
function thresholdTable(page, name) {
  const measures = page.runs.map((run) => run.scores?.measures.find((each) => each.name === name));
  const { tious, columns } = measures.find(Boolean);
  const rows = [];
  page.runs.forEach((run, i) => {
    for (const { name: row, values } of measures[i]?.rows ?? []) {
      const average = values.reduce((sum, value) => sum + value, 0) / values.length;
      const label = page.runs.length > 1 ? `${row}, ${run.name}` : row;
      const cells = values.map((value) => html("td", {}, percent(value)));
      if (tious) cells.push(html("td", { class: "strong" }, percent(average)));
      rows.push(html("tr", {}, html("th", { scope: "row" }, label), cells));
    }
  });
  const names = tious ? ["tIoU", ...tious.map(String), "average"] : ["", ...columns];
  const head = html("thead", {}, html("tr", {}, names.map((each) => html("th", { scope: "col" }, each))));
  const table = html("table", {}, html("caption", {}, `${name}, %`), head, html("tbody", {}, rows));
  return html("div", { class: "scroll" }, table);
}

// Bars per class, best first; two runs lie below each other with their difference.
function perClass(page) {
  const main = page.runs.find((run) => run.scores).scores;
  const tious = main.measures[0].tious;
  let chosen = 0;
  const value = (run, label) => {
    const column = run.scores?.classes.indexOf(label) ?? -1;
    if (column < 0) return null;
    const values = run.scores.ap.map((row) => row[column]);
    return chosen ? values[chosen - 1] : values.reduce((sum, each) => sum + each, 0) / values.length;
  };
  const options = ["average over tIoU", ...tious.map((tiou) => `tIoU ${tiou}`)];
  const change = (place) => {
    chosen = place;
    node.draw();
  };
  const draw = (width) => {
    const labels = [...new Set(page.runs.flatMap((run) => run.scores?.classes ?? []))];
    const rows = labels.map((label) => ({ label, values: page.runs.map((run) => value(run, label)) }));
    rows.sort((a, b) => (b.values[0] ?? b.values[1] ?? 0) - (a.values[0] ?? a.values[1] ?? 0));
    return bars(page, rows, width);
  };
  const note = "Average precision in percent; the number of annotated actions in brackets.";
  const node = figure("Average precision per class", draw, { note, controls: [choice("at", options, change)] });
  return node;
}

function bars(page, rows, width) {
  const columns = Math.max(1, Math.min(3, Math.floor(width / 420), Math.ceil(rows.length / 8)));
  const runs = page.runs.length;
  const [tall, gap] = [runs > 1 ? 26 : 20, 28];
  const each = (width - gap * (columns - 1)) / columns;
  const deep = Math.ceil(rows.length / columns);
  const [left, right] = [Math.min(190, each * 0.42), runs > 1 ? 132 : 46];
  const counts = (label) => {
    const { scores: found } = page.runs.find((run) => run.scores?.classes.includes(label));
    return found.annotations_per_class[found.classes.indexOf(label)];
  };
  const drawn = rows.map(({ label, values }, place) => {
    const [x, y] = [Math.floor(place / deep) * (each + gap), (place % deep) * tall];
    const name = page.classes[label];
    const change = difference(values);
    const text = values.map((value) => percent(value)).join(" | ") + (change === null ? "" : `  ${signed(change)}`);
    const thick = runs > 1 ? 8 : 12;
    return svg(
      "g",
      { transform: `translate(${x.toFixed(1)} ${y})` },
      svg("title", {}, `${name}: ${values.map((value) => `${percent(value)} %`).join(" and ")}`),
      svg(
        "text",
        { class: "label", x: left - 8, y: tall / 2 + 4, "text-anchor": "end" },
        clip(`${name} (${counts(label)})`, left - 8),
      ),
      svg(
        "rect",
        { class: "track", x: left, y: (tall - thick * runs) / 2, width: each - left - right, height: thick * runs },
      ),
      values.map(
        (value, i) => svg(
          "rect",
          {
            class: `bar run${i}`,
            x: left,
            y: (tall - thick * runs) / 2 + i * thick,
            width: (value ?? 0) * (each - left - right),
            height: thick - (runs > 1 ? 1 : 0),
          },
        ),
      ),
      svg("text", { class: "number", x: each - right + 8, y: tall / 2 + 4 }, text),
    );
  });
  return drawing(width, deep * tall + 2, "Average precision per class", drawn);
}

// Text that fits into a width at the size of labels; the middle of longer ones is left out.
function clip(text, width) {
  const most = Math.max(4, Math.floor(width / 6.3));
  if (text.length <= most) return text;
  const half = (most - 1) / 2;
  return `${text.slice(0, Math.ceil(half))}…${text.slice(text.length - Math.floor(half))}`;
}

function precisionRecall(page) {
  const main = page.runs.find((run) => run.scores).scores;
  const tious = main.measures[0].tious;
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
      (run, i) => (state.curves[i] ? curvesOf(run, i, state, labels, page.runs.length === 1) : []),
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

function curvesOf(run, place, state, labels, withQuiet) {
  const { classes, curves } = run.scores;
  const count = curves.points;
  const curve = (column) => {
    const begin = (state.tiou * classes.length + column) * count;
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
  const quiet = withQuiet && all.length > 1 && all.length <= 40 ? all.map(
    (each) => ({ name: "", kind: `run${place}`, quiet: true, points: trace(each) }),
  ) : [];
  return [...quiet, { name: `mean, ${run.name}`, kind: `run${place}`, points: trace(mean) }];
}
