// SPDX-License-Identifier: Apache-2.0
// Elements, the tooltip, and how numbers are written. Text is only ever added as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") node.addEventListener(name, value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

const html = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

const percent = (share, digits = 1) => (share === null || share === undefined ? "–" : (100 * share).toFixed(digits));
const signed = (share) => `${share < 0 ? "−" : "+"}${percent(Math.abs(share))}`;
const whole = (number) => number.toLocaleString("en-GB");
const plural = (number, noun, many = `${noun}s`) => `${whole(number)} ${number === 1 ? noun : many}`;

// 0.0123 as "0.0123", 12345 as "12,345": four digits that say something.
function short(number) {
  if (number === null || number === undefined) return "–";
  if (number === 0) return "0";
  const size = Math.abs(number);
  if (size >= 1000) return Math.round(number).toLocaleString("en-GB");
  if (size < 1e-5) return number.toExponential(1).replace(".0e", "e").replace("-", "−");
  return String(Number(number.toPrecision(3)));
}

// Seconds as "8.34 s"; from ten minutes on also as "12:05".
function seconds(value, digits = 2) {
  return value < 600 ? `${value.toFixed(digits)} s` : `${clock(value)} (${value.toFixed(1)} s)`;
}

function clock(value) {
  const total = Math.floor(value);
  const [hours, minutes, rest] = [Math.floor(total / 3600), Math.floor(total / 60) % 60, total % 60];
  const two = (number) => String(number).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

function duration(value) {
  if (value < 120) return `${short(value)} s`;
  return value < 7200 ? `${Math.round(value / 60)} min` : `${(value / 3600).toFixed(1)} h`;
}

const tip = html("div", { class: "tip", role: "status" });

// Lines are texts or pairs of a name and a value; the first is the heading.
function showTip(x, y, lines) {
  tip.replaceChildren(
    ...lines.map((line, place) =>
      Array.isArray(line)
        ? html("div", { class: "pair" }, html("span", {}, line[0]), html("b", {}, line[1]))
        : html("div", { class: place ? "" : "head" }, line),
    ),
  );
  tip.classList.add("shown");
  const { offsetWidth: width, offsetHeight: height } = tip;
  const left = x + 14 + width > window.innerWidth ? x - width - 14 : x + 14;
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${Math.max(4, Math.min(y + 14, window.innerHeight - height - 4))}px`;
}

const hideTip = () => tip.classList.remove("shown");

function choice(label, options, change, chosen = 0) {
  const select = html(
    "select",
    { change: () => change(Number(select.value)) },
    options.map((option, place) => html("option", { value: place, selected: place === chosen }, option)),
  );
  return html("label", { class: "choice" }, label, select);
}

// A sample of what a mark looks like, for legends: the same classes as the marks themselves have.
function swatch(...shapes) {
  return svg("svg", { class: "swatch", width: 22, height: 12, viewBox: "0 0 22 12", "aria-hidden": "true" }, ...shapes);
}

const lineSwatch = (kind) => swatch(svg("line", { class: `line ${kind}`, x1: 1, x2: 21, y1: 6, y2: 6 }));
const boxSwatch = (kind) => swatch(svg("rect", { class: kind, x: 1, y: 1.5, width: 20, height: 9 }));

function legend(entries) {
  return html(
    "ul",
    { class: "legend" },
    entries.map(([mark, name]) => html("li", {}, mark, html("span", {}, name))),
  );
}

const runLegend = (page) => (
  page.runs.length > 1 ? legend(page.runs.map((run, i) => [lineSwatch(`run${i}`), run.name])) : null
);

const empty = (text) => html("p", { class: "empty" }, text);
