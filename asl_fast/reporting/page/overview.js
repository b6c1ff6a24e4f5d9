// SPDX-License-Identifier: Apache-2.0
// The page's head: what was run, its score in a few large numbers, and how it was made.

function overview(page) {
  const notes = [];
  for (const run of page.runs) {
    const who = page.runs.length > 1 ? `Run ${run.name}` : "This run";
    if (!run.finished) {
      const { epochs: done, total_epochs: all } = run.history ?? {};
      const epochs = run.history ? `${done} of ${all} epochs are done` : "no epoch is done";
      notes.push(`${who} has not finished: ${epochs}. Scores, errors and timelines come with the last one.`);
    } else if (!run.scores) notes.push(`${who} has no annotated action in its test split, so nothing can be scored.`);
    else if (!run.scores.detections) notes.push(
      `${who} detected nothing: lower inference.score_threshold, or train longer.`,
    );
  }
  if (page.runs.some((run) => run.synthetic)) {
    notes.push("This is a synthetic twin: generated recordings, whose scores say nothing about the benchmark.");
  }
  const [first, second] = page.runs.map((run) => run.scores);
  if (first && second && first.videos !== second.videos) {
    notes.push(`The runs were scored on ${first.videos} and ${second.videos} videos: their scores do not compare.`);
  }
  if (first && second && String(first.measures[0].tious) !== String(second.measures[0].tious)) {
    notes.push("The runs were scored at different thresholds: their averages do not compare.");
  }
  return [
    notes.length ? html("ul", { class: "notes" }, notes.map((note) => html("li", {}, note))) : null,
    runLegend(page),
    html("div", { class: "tiles" }, tiles(page)),
    html("div", { class: "about" }, page.runs.map((run) => facts(page, run))),
  ];
}

function tiles(page) {
  const scored = page.runs.map((run) => run.scores);
  const main = (scores) => scores?.measures[0];
  const at = (scores, tiou) => {
    const place = main(scores)?.tious.findIndex((value) => Math.abs(value - tiou) < 1e-6) ?? -1;
    return place < 0 ? null : main(scores).rows[0].values[place];
  };
  const time = (run) => (run.history ? run.history.seconds.reduce((sum, value) => sum + (value ?? 0), 0) : null);
  const range = main(scored.find(Boolean))?.tious ?? [];
  const between = range.length ? `tIoU ${[...new Set([range[0], range[range.length - 1]])].join(" to ")}` : "";
  const shares = [
    ["Average mAP, %", between, (scores) => scores?.average_map ?? null],
    ["mAP at 0.5, %", "tIoU 0.5", (scores) => at(scores, 0.5)],
    ["Best F1, %", `tIoU ${page.tiou}, classes pooled`, (scores) => scores?.best_f1 ?? null],
  ];
  const found = shares
    .filter(([, , value]) => scored.some((scores) => value(scores) !== null))
    .map(
      ([name, note, value]) => tile(
        name,
        scored.map((scores) => percent(value(scores))),
        note,
        difference(scored.map(value)),
      ),
    );
  found.push(...spotted(scored));
  const any = scored.find(Boolean);
  if (any) {
    found.push(
      tile(
        "Annotated actions",
        [whole(any.annotations)],
        `in ${plural(any.videos, "video")}, ${plural(any.classes.length, "class", "classes")}`,
      ),
    );
    found.push(
      tile(
        "Detections",
        scored.map((scores) => (scores ? whole(scores.detections) : "–")),
        "with any score",
      ),
    );
  }
  if (page.runs.some((run) => run.history)) {
    const epochs = page.runs.map((run) => (run.history ? plural(run.history.epochs, "epoch") : "–"));
    found.push(
      tile(
        "Training",
        page.runs.map((run) => (run.history ? duration(time(run)) : "–")),
        [...new Set(epochs)].join(", "),
      ),
    );
  }
  return found;
}

// What a track counts beside mAP, where the runs have it.
function spotted(scored) {
  const rows = scored.map((scores) => scores?.measures.find((each) => each.columns));
  const named = rows.find(Boolean);
  if (!named) return [];
  return named.columns.map((name, place) => {
    const values = rows.map((row) => row?.rows[0].values[place] ?? null);
    const shown = values.map((value) => percent(value));
    return tile(`${name[0].toUpperCase()}${name.slice(1)}, %`, shown, named.rows[0].name, difference(values));
  });
}

const difference = (values) => (
  values.length === 2 && values.every((value) => value !== null) ? values[1] - values[0] : null
);

function tile(name, values, note, change = null) {
  return html(
    "div",
    { class: "tile" },
    html("div", { class: "name" }, name),
    html(
      "div",
      { class: "values" },
      values.map((value, i) => html("span", { class: values.length > 1 ? `value run${i}` : "value" }, value)),
    ),
    html("div", { class: "note" }, change === null ? note : `${signed(change)}, ${note}`),
  );
}

function facts(page, run) {
  const rows = run.facts.map(([name, value]) => [html("dt", {}, name), html("dd", {}, value)]);
  return html(
    "details",
    {},
    html("summary", {}, page.runs.length > 1 ? `How ${run.name} was made` : "How this run was made"),
    html("dl", {}, rows),
  );
}
