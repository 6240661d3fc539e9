// Shows what a model answers: files as pictures and sounds, strings as text, numbers as numbers.

import {element} from "./elements.js";
import {nameOf, word} from "./words.js";

// How files begin, in base64.
const KINDS = [["iVBORw0KGgo", "image/png"], ["/9j/", "image/jpeg"], ["UklGR", "audio/wav"]];
const MOST_NUMBERS = 256;

// outputs: {name: list with a row each}.  Returns: list of elements.
export function shown(outputs) {
  const names = Object.keys(outputs).sort();
  const nodes = [];
  for (const name of names.filter((each) => each.endsWith("_bytes"))) {
    nodes.push(files(outputs[name], name));
  }
  if (names.includes("label") && names.includes("probability")) {
    nodes.push(...outputs.label.map((label, row) => judged(label, outputs.probability[row])));
  }
  for (const name of names) {
    const isShown = name.endsWith("_bytes") || names.includes(`${name}_bytes`) ||
      (["label", "probability"].includes(name) && names.includes("probability"));
    if (!isShown) {
      nodes.push(...plain(name, outputs[name]));
    }
  }
  return nodes;
}

function files(rows, name) {
  const made = rows.map((row, i) => file(row.b64, `${name.replace("_bytes", "")}_${i}`));
  const few = rows.length <= 2 ? " few" : "";
  return element("div", {className: `gallery${few}`}, ...made);
}

function file(base64, name) {
  const kind = KINDS.find(([start]) => base64.startsWith(start))?.[1] ?? "application/octet-stream";
  const address = `data:${kind};base64,${base64}`;
  const download = `${name}.${kind.split("/")[1]}`;
  if (kind.startsWith("image/")) {
    return element("a", {href: address, download, title: word("download")},
      element("img", {src: address, alt: name}));
  }
  if (kind === "audio/wav") {
    return element("div", {className: "sound"},
      element("audio", {src: address, controls: true}),
      element("a", {href: address, download}, word("download")));
  }
  return element("a", {href: address, download}, download);
}

// A label in words, and how sure the model is of each class.
function judged(label, probability) {
  const most = Math.max(...probability);
  const bars = probability.map((share) => element("meter", {min: 0, max: 1, value: share,
    title: share.toFixed(3)}));
  return element("div", {className: "judged"},
    element("strong", {}, label), element("span", {}, `${(most * 100).toFixed(1)} %`),
    element("div", {className: "meters"}, ...bars));
}

function plain(name, rows) {
  if (!Array.isArray(rows)) {
    return [element("pre", {}, JSON.stringify(rows))];
  }
  if (rows.every((row) => typeof row === "string")) {
    return rows.map((row) => element("blockquote", {}, row));
  }
  const text = rows.map((row) => numbers(row)).join("\n");
  return [element("h3", {}, nameOf("output", name)), element("pre", {}, text)];
}

function numbers(row) {
  const all = [row].flat(Infinity);
  const text = all.slice(0, MOST_NUMBERS).map((value) =>
    typeof value === "number" && !Number.isInteger(value) ? value.toPrecision(5) : String(value));
  return text.join("  ") +
    (all.length > MOST_NUMBERS ? `  ${word("more", all.length - MOST_NUMBERS)}` : "");
}
