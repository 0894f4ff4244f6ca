// Asks the teacher's and the student's int8 networks in onnxruntime-web, on one thread: for the label of a
// text, or for the stretch of a context that answers a question. `?only=student` loads one of them, so that
// its memory can be told. For scripts: `window.ask(inputs)` and `window.measure()`, after `window.ready`.

import { WordPiece } from "./wordpiece.js";

// onnxruntime-web does not tell the size of its memory: every one that is made is remembered.
const memories = [];
const Memory = WebAssembly.Memory;
WebAssembly.Memory = new Proxy(Memory, {
  construct(target, options) {
    memories.push(new target(...options));
    return memories.at(-1);
  },
});

const REPEATS = 15;
const LONGEST_ANSWER = 30; // tokens
const only = new URLSearchParams(location.search).get("only");
const element = (id) => document.getElementById(id);
const models = {};
let ort, tokenizer, settings;

async function load() {
  ort = await import("./ort.wasm.min.mjs");
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = new URL("./", location.href).href;
  const [words, read] = await Promise.all(["vocabulary.json", "settings.json"].map(getJson));
  settings = read;
  tokenizer = new WordPiece(words, settings);
  for (const name of ["teacher", "student"].filter((one) => !only || one === only)) {
    const began = performance.now();
    const bytes = new Uint8Array(await (await fetch(`${name}.onnx`)).arrayBuffer());
    const session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
    models[name] = { session, bytes: bytes.length, load: performance.now() - began };
  }
  [element("text").value, element("context").value] = [].concat(settings.example, "");
  element("pair").hidden = settings.task === "classify";
  element("state").textContent = "ready";
  element("ask").disabled = element("time").disabled = false;
}

async function getJson(name) {
  return (await fetch(name)).json();
}

async function logits(name, ids) {
  const numbers = (values) => new ort.Tensor("int64", BigInt64Array.from(values, BigInt), [1, ids.length]);
  const feeds = { input_ids: numbers(ids), attention_mask: numbers(ids.map(() => 1)) };
  return Array.from((await models[name].session.run(feeds)).logits.data);
}

function softmax(values) {
  const largest = Math.max(...values);
  const weights = values.map((value) => Math.exp(value - largest));
  const sum = weights.reduce((a, b) => a + b);
  return weights.map((weight) => weight / sum);
}

async function classify(name, text) {
  const ids = tokenizer.encode(text);
  const probabilities = softmax(await logits(name, ids));
  const probability = Math.max(...probabilities);
  return { answer: settings.labels[probabilities.indexOf(probability)], probability, probabilities, ids };
}

// The likeliest first and last token of all windows, each among the context's tokens of its window.
async function answer(name, [question, context]) {
  const characters = Array.from(context);
  let best = { answer: "", probability: 0, start: 0, end: 0, ids: [] };
  for (const { ids, spans } of tokenizer.windows(question, context)) {
    const flat = await logits(name, ids);
    const [firsts, lasts] = [0, 1].map((side) =>
      softmax(spans.map((span, token) => (span ? flat[2 * token + side] : -Infinity))),
    );
    for (let first = 0; first < ids.length; first++) {
      if (!spans[first]) continue;
      for (let last = first; last < Math.min(ids.length, first + LONGEST_ANSWER) && spans[last]; last++) {
        const probability = firsts[first] * lasts[last];
        if (probability <= best.probability) continue;
        const [start, end] = [spans[first][0], spans[last][1]];
        best = { answer: characters.slice(start, end).join(""), probability, start, end, ids };
      }
    }
  }
  return best;
}

// Texts, or pairs of question and context -> {name of a model: [{answer, probability, ids, ...}]}.
async function ask(inputs) {
  const results = {};
  for (const name of Object.keys(models)) {
    results[name] = [];
    for (const input of inputs) {
      results[name].push(await (settings.task === "classify" ? classify : answer)(name, input));
    }
  }
  return results;
}

// For each model: bytes of its file, milliseconds to load and for one text of full length, bytes of memory.
async function measure() {
  const results = {};
  const ids = Array.from({ length: settings.max_length }, (_, place) => 5 + (place % 50));
  for (const [name, { bytes, load }] of Object.entries(models)) {
    const taken = [];
    for (let round = 0; round <= REPEATS; round++) {
      const began = performance.now();
      await logits(name, ids);
      if (round) taken.push(performance.now() - began);
    }
    const latency = taken.sort((a, b) => a - b)[Math.floor(REPEATS / 2)];
    const memory = memories.reduce((sum, one) => sum + one.buffer.byteLength, 0);
    results[name] = { bytes, load, latency, memory };
  }
  return results;
}

function row(cells, tag) {
  const line = document.createElement("tr");
  for (const text of cells) line.appendChild(document.createElement(tag)).textContent = text;
  return line;
}

element("ask").addEventListener("click", async () => {
  const text = element("text").value;
  const input = settings.task === "classify" ? text : [text, element("context").value];
  const show = (text) => {
    const line = document.createElement("p");
    line.textContent = text;
    return line;
  };
  try {
    const results = Object.entries(await ask([input]));
    const said = ([name, [one]]) => show(`${name}: ${one.answer} (${one.probability.toFixed(3)})`);
    element("answers").replaceChildren(...results.map(said));
  } catch (error) {
    element("answers").replaceChildren(show(error.message));
  }
});

element("time").addEventListener("click", async () => {
  const lines = [row(["", "file, MB", "load, ms", "one text, ms"], "th")];
  for (const [name, one] of Object.entries(await measure())) {
    lines.push(row([name, (one.bytes / 1e6).toFixed(2), one.load.toFixed(0), one.latency.toFixed(2)], "td"));
  }
  element("table").tBodies[0].replaceChildren(...lines);
});

window.ask = ask;
window.measure = measure;
window.ready = load().then(
  () => true,
  (error) => {
    element("state").textContent = `not loaded: ${error.message}`;
    return false;
  },
);
