// SPDX-License-Identifier: Apache-2.0
// What was measured while training: loss terms, rates, scores after epochs.

const TERMS = {
  total: ["Total loss", "all terms, weighted"],
  cls: ["Classification", "weighted focal loss"],
  loc: ["Localisation", "weighted DIoU loss"],
  sensitivity: ["Instance sensitivity", "error of the predicted quality"],
  contrastive: ["Contrastive", "InfoNCE of sensitive moments"],
  fit: ["Fit of the sensitivities", "what the curves leave unexplained"],
  lr: ["Learning rate", "per step"],
  grad_norm: ["Gradient norm", "before clipping"],
  num_positives: ["Positive points", "per step"],
};

function training(page) {
  const told = page.runs.filter((run) => run.history);
  if (!told.length) return [empty("No epoch is finished yet. The curves appear after the first.")];
  const last = Math.max(...told.map((run) => run.history.epochs));
  const known = Object.keys(TERMS);
  const rank = (name) => (known.includes(name) ? known.indexOf(name) : known.indexOf("lr") - 0.5);
  const names = [...new Set(told.flatMap((run) => Object.keys(run.history.steps)))].filter((name) => name !== "at");
  names.sort((a, b) => rank(a) - rank(b));
  const x = { domain: [0, last], name: "epoch", ticks: ticks(0, last, 4).filter(Number.isInteger) };
  const panel = ([title, note], pick, read) =>
    figure(
      title,
      (width) => lines(
        width,
        { series: series(page, pick), x, y: { read: read ?? short }, label: `${title} over epochs` },
      ),
      { note },
    );
  const panels = names.map((name) => panel(TERMS[name] ?? [name, ""], (told) => points(told.steps, name)));
  const time = (told) => told.seconds.map((value, epoch) => [epoch + 1, value]);
  if (last > 1) panels.push(panel(["Time per epoch", "seconds"], time, (value) => `${short(value)} s`));
  return [runLegend(page), scoresOverTime(page, x), html("div", { class: "multiples" }, panels)];
}

const points = (columns, name) => (columns[name] ?? []).map((value, place) => [columns.at[place], value]);

function series(page, pick) {
  return page.runs.flatMap(
    (run, i) => (run.history ? [{ name: run.name, kind: `run${i}`, points: pick(run.history) }] : []),
  );
}

// Only where the test split was scored more than once.
function scoresOverTime(page, x) {
  if (!page.runs.some((run) => (run.history?.evaluations.at.length ?? 0) > 1)) return null;
  const pick = (told) => points(told.evaluations, "average_map");
  const y = { name: "average mAP, %", format: (value) => percent(value, 0), read: (value) => `${percent(value)} %` };
  return figure(
    "Average mAP on the test split",
    (width) => lines(
      width,
      { height: 190, series: series(page, pick), x, y, marks: true, label: "Average mAP over epochs" },
    ),
  );
}
