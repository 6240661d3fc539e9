// The page: models, the chosen one's signatures, a form for the chosen one, what it answers.

import {element} from "./elements.js";
import {carryOver, fieldsOf, sorted} from "./fields.js";
import {shown} from "./results.js";
import {currentLanguage, nameOf, switchLanguage, word} from "./words.js";

const INIT_SIGNATURE = "__saved_model_init_op";
const NARROW = matchMedia("(max-width: 760px)");  // as in page.css
const ORDER = ["serving_default", "generate"];

const find = (id) => document.getElementById(id);
// shown: the model whose fields are in the form
const page = {models: [], model: null, signatures: {}, signature: null, fields: null, shown: null};
let asked = 0;  // number of the newest question; older answers come too late

// --- the server

// Returns: the JSON of an answer.  Throws: Error with the server's own words.
async function ask(path, body) {
  let answer;
  try {
    answer = await fetch(path, body && {method: "POST", body});
  } catch {
    throw new Error(word("no_answer"));
  }
  const text = await answer.text();
  let value;
  try {
    value = JSON.parse(quoted(text));
  } catch {
    throw new Error(`${answer.status} ${answer.statusText}`);
  }
  if (!answer.ok) {
    throw new Error(value.error ?? String(answer.status));
  }
  return value;
}

// NaN and Infinity, which TensorFlow Serving writes and JSON does not know, become strings.
function quoted(text) {
  return text.replace(/"(?:[^"\\]|\\.)*"|-?\b(?:NaN|Infinity)\b/g,
    (found) => (found.startsWith("\"") ? found : `"${found}"`));
}

function address(model) {
  return `v1/models/${encodeURIComponent(model)}`;
}

// --- choosing

async function chooseModel(model) {
  const number = ++asked;
  page.model = model;
  showModels();
  hideResults();
  find("run").disabled = true;
  try {
    const metadata = await ask(`${address(model)}/metadata`);
    if (number !== asked) {
      return;
    }
    page.signatures = metadata.metadata.signature_def.signature_def;
    delete page.signatures[INIT_SIGNATURE];
    find("model-name").textContent = model;
    find("version").textContent = `v${metadata.model_spec.version}`;
    find("form-card").hidden = false;
    chooseSignature(signatureNames()[0]);
  } catch (error) {
    if (number === asked) {
      find("form-card").hidden = true;
      complain(error);
    }
  }
}

function signatureNames() {
  return sorted(page.signatures, ORDER).map(([name]) => name);
}

// What serving_default does is in its tensors.
function wordFor(name) {
  const {inputs = {}, outputs = {}} = page.signatures[name];
  const does = name !== "serving_default" ? name
    : "probability" in outputs ? "classify"
      : "audio_bytes" in outputs ? ("mel" in inputs ? "vocode" : "speak")
        : "text" in inputs && "text" in outputs ? "answer" : name;
  return nameOf("signature", does, name);
}

function chooseSignature(name) {
  asked++;
  page.signature = name;
  find("signatures").replaceChildren(...signatureNames().map((each) => element("button",
    {type: "button", "aria-pressed": String(each === name), title: each,
      onclick: () => chooseSignature(each)}, wordFor(each))));
  page.fields = fieldsOf(page.signatures[name].inputs ?? {});
  if (page.shown === page.model) {
    carryOver(find("fields"), page.fields.node);
  }
  page.shown = page.model;
  find("fields").replaceChildren(page.fields.node);
  hideResults();
  say("ready");
}

function showModels() {
  find("models").replaceChildren(...page.models.map((name) => element("button",
    {type: "button", "aria-pressed": String(name === page.model),
      onclick: () => chooseModel(name)}, name)));
  document.querySelector("#models [aria-pressed=true]")
    .scrollIntoView({block: "nearest", inline: "center"});
}

// --- running

async function run(event) {
  event.preventDefault();
  const number = ++asked;
  const {model, signature} = page;
  find("run").disabled = true;
  say("running");
  find("result-card").classList.add("busy");
  try {
    const {rows, inputs} = page.fields.read();
    const body = JSON.stringify({signature_name: signature, inputs});
    const begun = performance.now();
    const answer = await ask(`${address(model)}:predict`, body);
    const time = performance.now() - begun;
    if (number === asked) {
      const names = Object.keys(page.signatures[signature].outputs);
      const outputs = names.length === 1 ? {[names[0]]: answer.outputs} : answer.outputs;
      find("results").replaceChildren(...shown(outputs));
      say("done", rows, time < 1000 ? `${Math.round(time)} ms` : `${(time / 1000).toFixed(1)} s`);
      showRequest(model, body);
      if (NARROW.matches) {  // the answer is below the form
        find("result-card").scrollIntoView({behavior: "smooth"});
      }
    }
  } catch (error) {
    if (number === asked) {
      complain(error);
    }
  } finally {
    if (number === asked) {
      find("run").disabled = false;
      find("result-card").classList.remove("busy");
    }
  }
}

function showRequest(model, body) {
  const url = new URL(`${address(model)}:predict`, document.baseURI);
  find("request").textContent = `curl -d '${body.replaceAll("'", "'\\''")}' '${url}'`;
  find("request-details").hidden = false;
}

function hideResults() {
  find("results").replaceChildren();
  find("request-details").hidden = true;
  find("run").disabled = false;
  find("result-card").classList.remove("busy");
}

function say(key, ...values) {
  find("status").classList.remove("error");
  find("status").title = "";
  find("status").textContent = word(key, ...values);
  find("result-card").hidden = false;
}

function complain(error) {
  hideResults();
  find("status").classList.add("error");
  // An endpoint's own check says what is wrong in its first brackets.
  find("status").textContent = error.message.match(/^assertion failed: \[([^\]]+)\]/)?.[1] ??
    error.message;
  find("status").title = error.message;
  find("result-card").hidden = false;
}

// --- the page itself

function translate() {
  document.documentElement.lang = currentLanguage();
  for (const each of document.querySelectorAll("[data-word]")) {
    each.textContent = word(each.dataset.word);
  }
  for (const each of document.querySelectorAll("[data-label]")) {
    each.setAttribute("aria-label", word(each.dataset.label));
  }
  find("language").textContent = word("other_language");
}

async function start() {
  translate();
  find("language").addEventListener("click", () => {
    switchLanguage();
    translate();
    if (page.shown) {
      showModels();
      chooseSignature(page.signature);
    }
  });
  find("form").addEventListener("submit", run);
  find("form").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      find("form").requestSubmit();
    }
  });
  try {
    page.models = (await ask("demo/models")).models;
    if (page.models.length) {
      const wanted = decodeURIComponent(location.hash.slice(1));
      await chooseModel(page.models.includes(wanted) ? wanted : page.models[0]);
    } else {
      say("no_models");
    }
  } catch (error) {
    complain(error);
  }
}

start();
