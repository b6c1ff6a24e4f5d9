// SPDX-License-Identifier: Apache-2.0
// Mean average precision per threshold and per class.

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

// Thresholds of all runs together: each was scored by rules of its own.
const thresholdsOf = (measures) => [...new Set(measures.flatMap((each) => each?.tious ?? []))].sort((a, b) => a - b);
const mainMeasures = (page) => page.runs.map((run) => run.scores?.measures[0]);
const placeOf = (measure, tiou) => measure?.tious.indexOf(tiou) ?? -1;

function perThreshold(page) {
  const measures = mainMeasures(page);
  const tious = thresholdsOf(measures);
  const series = page.runs.flatMap((run, i) => {
    const points = measures[i]?.tious.map((tiou, place) => [tiou, measures[i].rows[0].values[place]]);
    return points ? [{ name: run.name, kind: `run${i}`, points }] : [];
  });
  const [first, last] = [tious[0], tious[tious.length - 1]];
  const x = {
    domain: first < last ? [first, last] : [first - 0.05, first + 0.05],
    name: "temporal IoU from which a detection is right",
    read: "tIoU",
    ticks: tious.filter((_, i) => i % Math.ceil(tious.length / 9) === 0),
  };
  const y = {
    domain: [0, 1],
    name: "mAP, %",
    format: (value) => percent(value, 0),
    read: (value) => `${percent(value)} %`,
  };
  const draw = (width) => lines(width, { height: 260, series, x, y, marks: true, label: "mAP per tIoU" });
  return figure("mAP per threshold", draw);
}

// One measure: a column per threshold and their average, or columns of its own.
function thresholdTable(page, name) {
  const measures = page.runs.map((run) => run.scores?.measures.find((each) => each.name === name));
  const { columns } = measures.find(Boolean);
  const tious = thresholdsOf(measures);
  const rows = [];
  page.runs.forEach((run, i) => {
    for (const { name: row, values } of measures[i]?.rows ?? []) {
      const label = page.runs.length > 1 ? `${row}, ${run.name}` : row;
      const shown = columns ? values : tious.map((tiou) => values[placeOf(measures[i], tiou)]);
      const cells = shown.map((value) => html("td", {}, percent(value)));
      const average = values.reduce((sum, value) => sum + value, 0) / values.length;
      if (!columns) cells.push(html("td", { class: "strong" }, percent(average)));
      rows.push(html("tr", {}, html("th", { scope: "row" }, label), cells));
    }
  });
  const names = columns ? ["", ...columns] : ["tIoU", ...tious.map(String), "average"];
  const head = html("thead", {}, html("tr", {}, names.map((each) => html("th", { scope: "col" }, each))));
  const table = html("table", {}, html("caption", {}, `${name}, %`), head, html("tbody", {}, rows));
  return html("div", { class: "scroll" }, table);
}

// Bars per class, best first; two runs lie below each other with their difference.
function perClass(page) {
  const tious = thresholdsOf(mainMeasures(page));
  let chosen = 0;
  const value = (run, label) => {
    const column = run.scores?.classes.indexOf(label) ?? -1;
    if (column < 0) return null;
    const values = run.scores.ap.map((row) => row[column]);
    if (chosen) return values[placeOf(run.scores.measures[0], tious[chosen - 1])] ?? null;
    return values.reduce((sum, each) => sum + each, 0) / values.length;
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
