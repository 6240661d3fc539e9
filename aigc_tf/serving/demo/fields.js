// A form field for each input of a signature, by its dtype and shape. A field is
// {node, value(rows)}: its element, and what it gives for so many rows. Dim 0 is always the rows.

import {element} from "./elements.js";
import {nameOf, word} from "./words.js";

const SAMPLES = "samples";  // not an input: how many rows
const ORDER = ["prompt", "text", "image", "latent", "mel", "label", "seed", SAMPLES, "truncation",
  "max_new_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty",
  "no_repeat_ngram", "beam_size", "length_penalty"];
const DEFAULTS = {
  truncation: 1, temperature: 1, top_p: 1, repetition_penalty: 1, beam_size: 1, length_penalty: 1,
  max_new_tokens: 64, num_frames: 1,
};
// name: [lowest, highest, step] of a slider
const SLIDERS = {
  truncation: [0, 1, 0.05], temperature: [0, 2, 0.05], top_p: [0, 1, 0.01], min_p: [0, 1, 0.01],
  repetition_penalty: [1, 2, 0.05], length_penalty: [0, 2, 0.1],
};
const MOST_SLIDERS = 64;
const MOST_SAMPLES = 64;
const MOST_SEED = 1_000_000;

// inputs: {name: TensorInfo as the metadata has it}.  Returns: {node, read() -> {rows, inputs}}.
export function fieldsOf(inputs) {
  const fields = Object.fromEntries(
    Object.entries(inputs).map(([name, info]) => [name, fieldOf(name, info)]));
  const samples = "seed" in inputs ? {[SAMPLES]: samplesField(inputs)} : {};
  const shown = sorted({...fields, ...samples}, ORDER);
  const node = element("div", {className: "fields"}, ...shown.map(([, field]) => field.node));
  return {node, read() {
    const rows = samples[SAMPLES]?.value() ?? 1;
    return {rows, inputs: Object.fromEntries(Object.entries(fields).map(([name, field]) =>
      [name, field.value(rows)]))};
  }};
}

// Entries of an object, those in `order` first, others by name.
export function sorted(object, order) {
  const rank = (name) => (order.includes(name) ? order.indexOf(name) : order.length);
  return Object.entries(object).sort(([a], [b]) => rank(a) - rank(b) || (a < b ? -1 : 1));
}

// Gives what was typed, chosen and drawn in one form to the fields of the same names in another.
export function carryOver(before, after) {
  for (const old of before.querySelectorAll("[id]")) {
    const field = after.querySelector(`#${CSS.escape(old.id)}`);
    if (field instanceof HTMLCanvasElement) {
      field.getContext("2d").drawImage(old, 0, 0);
    } else if (field && field.type === old.type && "value" in field) {
      field.value = old.value;
      field.checked = old.checked;
      field.dispatchEvent(new Event("input"));
    }
  }
}

function samplesField(inputs) {
  const few = Object.values(inputs).some((info) => info.dtype === "DT_STRING");
  const input = numberInput({id: idOf(SAMPLES), value: few ? 1 : 16, min: 1, max: MOST_SAMPLES});
  return {node: labelled(input, word("samples"), ""), value: () => input.valueAsNumber};
}

function fieldOf(name, info) {
  const shape = (info.tensor_shape.dim ?? []).map((dim) => Number(dim.size));
  const isFloat = info.dtype === "DT_FLOAT" || info.dtype === "DT_DOUBLE";
  if (info.tensor_shape.unknown_rank || shape.length < 1) {
    return jsonField(name, [1]);
  }
  if (shape.length === 1) {
    return info.dtype === "DT_STRING" ? textField(name)
      : info.dtype === "DT_BOOL" ? checkField(name)
        : name === "seed" ? seedField() : numberField(name, isFloat);
  }
  const channels = shape[3];
  if (info.dtype === "DT_UINT8" && shape.length === 4 && !shape.slice(1).includes(-1) &&
      (channels === 1 || channels === 3)) {
    return pictureField(name, shape);
  }
  if (isFloat && shape.length === 2 && shape[1] > 0 && shape[1] <= MOST_SLIDERS) {
    return vectorField(name, shape[1]);
  }
  return jsonField(name, shape);
}

// --- around an input

function idOf(name) {
  return `input-${name}`;
}

// Its label above, its hint below.
function labelled(input, label, hint, ...more) {
  const target = input.id ? {htmlFor: input.id} : {};
  return element("div", {className: more.length ? "field wide" : "field"},
    element("label", target, label), input, ...more,
    ...(hint ? [element("small", {}, hint)] : []));
}

function named(name, input, ...more) {
  return labelled(input, nameOf("input", name), nameOf("hint", name, ""), ...more);
}

function numberInput(attributes) {
  return element("input", {type: "number", required: true, step: 1, ...attributes});
}

function repeated(rows, value) {
  return Array(rows).fill(value);
}

// --- kinds

function textField(name) {
  const input = element("textarea", {id: idOf(name), rows: 3, spellcheck: false});
  const node = named(name, input);
  node.classList.add("wide");
  return {node, value: (rows) => repeated(rows, input.value)};
}

function checkField(name) {
  const input = element("input", {type: "checkbox", id: idOf(name)});
  return {node: named(name, input), value: (rows) => repeated(rows, input.checked)};
}

// Row i has seed + i, as `generate` gives them.
function seedField() {
  const input = numberInput({id: idOf("seed"), value: 0, min: -MOST_SEED, max: MOST_SEED});
  const dice = element("button", {type: "button", title: word("dice"), className: "quiet",
    "aria-label": word("dice"),
    onclick: () => {
      input.value = Math.floor(Math.random() * MOST_SEED);
      input.form.requestSubmit();
    }}, "⚄");
  const both = element("div", {className: "joined"}, input, dice);
  const node = element("div", {className: "field"},
    element("label", {htmlFor: input.id}, nameOf("input", "seed")), both);
  return {node, value: (rows) => Array.from({length: rows}, (_, i) => input.valueAsNumber + i)};
}

function numberField(name, isFloat) {
  const given = {id: idOf(name), value: DEFAULTS[name] ?? 0};
  if (!Object.hasOwn(SLIDERS, name)) {
    const input = numberInput({...given, step: isFloat ? "any" : 1});
    return {node: named(name, input), value: (rows) => repeated(rows, input.valueAsNumber)};
  }
  const slider = sliderInput(given, ...SLIDERS[name]);
  const node = element("div", {className: "field"},
    element("label", {htmlFor: given.id}, nameOf("input", name), slider.shown), slider.input,
    element("small", {}, nameOf("hint", name, "")));
  return {node, value: (rows) => repeated(rows, slider.input.valueAsNumber)};
}

function sliderInput({id, value, ...more}, min, max, step) {
  const shown = element("output", {});
  const show = () => {
    shown.textContent = input.value;
  };
  const input = element("input", {type: "range", min, max, step, oninput: show, ...more});
  if (id) {
    input.id = id;
  }
  input.value = value;
  show();
  return {input, shown, set(number) {
    input.value = number;
    show();
  }};
}

// A slider for each number of a latent.
function vectorField(name, size) {
  const sliders = Array.from({length: size}, (_, i) =>
    sliderInput({value: 0, "aria-label": `${name} ${i}`}, -3, 3, 0.05).input);
  const random = element("button", {type: "button", className: "quiet",
    onclick: () => {
      for (const slider of sliders) {
        slider.value = normal();
      }
      sliders[0].form.requestSubmit();
    }}, word("random"));
  const grid = element("div", {className: "sliders", role: "group", id: idOf(name)}, ...sliders);
  return {node: named(name, grid, random),
    value: (rows) => repeated(rows, sliders.map((slider) => slider.valueAsNumber))};
}

function normal() {  // Box and Muller
  return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
}

function jsonField(name, shape) {
  const sizes = shape.slice(1).map((size) => (size < 0 ? 16 : size));
  const zeros = sizes.reduceRight((row, size) => Array(size).fill(row), 0);
  const input = element("textarea", {id: idOf(name), rows: 4, className: "code",
    value: JSON.stringify(zeros), spellcheck: false});
  const node = labelled(input, nameOf("input", name), `[${shape}]`);
  node.classList.add("wide");
  return {node, value(rows) {
    try {
      return repeated(rows, JSON.parse(input.value));
    } catch {
      throw new Error(`${nameOf("input", name)}: ${word("not_json")}`);
    }
  }};
}

// --- pictures

// A canvas of the model's own size, to be drawn on or filled from a file.
function pictureField(name, [, height, width, channels]) {
  const canvas = element("canvas", {width, height, id: idOf(name), className: "pad",
    title: word("draw"), tabIndex: 0});
  const pen = canvas.getContext("2d", {willReadFrequently: true});
  const clear = () => {
    pen.fillStyle = channels === 1 ? "black" : "white";
    pen.fillRect(0, 0, width, height);
  };
  clear();
  drawable(canvas, pen, channels === 1 ? "white" : "black");
  const file = element("input", {type: "file", accept: "image/*", hidden: true,
    onchange: () => file.files[0] && paint(file.files[0], pen, width, height)});
  const tools = element("div", {className: "joined"}, file,
    element("button", {type: "button", className: "quiet", onclick: () => file.click()},
      word("choose")),
    element("button", {type: "button", className: "quiet", onclick: clear}, word("clear")));
  const node = labelled(canvas, nameOf("input", name), word("draw"), tools);
  return {node, value: (rows) => repeated(rows, pixels(pen, height, width, channels))};
}

function drawable(canvas, pen, colour) {
  let last = null;
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width * canvas.width,
      (event.clientY - box.top) / box.height * canvas.height];
  };
  const move = (event) => {
    if (last) {
      const next = place(event);
      pen.strokeStyle = colour;
      pen.lineWidth = Math.max(canvas.width / 14, 1);
      pen.lineCap = "round";
      pen.beginPath();
      pen.moveTo(...last);
      pen.lineTo(...next);
      pen.stroke();
      last = next;
    }
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    last = place(event);
    move(event);
  });
  canvas.addEventListener("pointermove", move);
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, () => {
      last = null;
    });
  }
}

// The middle of the picture, as large as fits.
async function paint(file, pen, width, height) {
  const picture = await createImageBitmap(file);
  const scale = Math.max(width / picture.width, height / picture.height);
  const [wide, high] = [picture.width * scale, picture.height * scale];
  pen.drawImage(picture, (width - wide) / 2, (height - high) / 2, wide, high);
}

function pixels(pen, height, width, channels) {
  const {data} = pen.getImageData(0, 0, width, height);
  return Array.from({length: height}, (_, y) => Array.from({length: width}, (__, x) => {
    const [red, green, blue] = data.subarray((y * width + x) * 4);
    // ITU-R BT.601, as Pillow makes grey
    return channels === 3 ? [red, green, blue]
      : [Math.round(0.299 * red + 0.587 * green + 0.114 * blue)];
  }));
}
