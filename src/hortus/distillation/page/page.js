// Classifies texts with the teacher's and the student's int8 networks in onnxruntime-web, on one thread.
// `?only=student` loads one of them, so that its memory can be told. For scripts: `window.classify(texts)`
// and `window.measure()`, after `window.ready`.

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
  element("text").value = settings.example;
  element("state").textContent = "ready";
  element("ask").disabled = element("time").disabled = false;
}

async function getJson(name) {
  return (await fetch(name)).json();
}

async function run(name, ids) {
  const numbers = (values) => new ort.Tensor("int64", BigInt64Array.from(values, BigInt), [1, ids.length]);
  const feeds = { input_ids: numbers(ids), attention_mask: numbers(ids.map(() => 1)) };
  const logits = (await models[name].session.run(feeds)).logits.data;
  const weights = Array.from(logits, (value) => Math.exp(value - Math.max(...logits)));
  const sum = weights.reduce((a, b) => a + b);
  return weights.map((weight) => weight / sum);
}

// Texts -> {name of a model: [{label, probabilities, ids}]}.
async function classify(texts) {
  const results = {};
  for (const name of Object.keys(models)) {
    results[name] = [];
    for (const text of texts) {
      const ids = tokenizer.encode(text);
      const probabilities = await run(name, ids);
      const label = settings.labels[probabilities.indexOf(Math.max(...probabilities))];
      results[name].push({ label, probabilities, ids });
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
      await run(name, ids);
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
  const results = await classify([element("text").value]);
  const shown = Object.entries(results).map(([name, [answer]]) => {
    const line = document.createElement("p");
    line.textContent = `${name}: ${answer.label} (${Math.max(...answer.probabilities).toFixed(3)})`;
    return line;
  });
  element("answers").replaceChildren(...shown);
});

element("time").addEventListener("click", async () => {
  const lines = [row(["", "file, MB", "load, ms", "one text, ms"], "th")];
  for (const [name, one] of Object.entries(await measure())) {
    lines.push(row([name, (one.bytes / 1e6).toFixed(2), one.load.toFixed(0), one.latency.toFixed(2)], "td"));
  }
  element("table").tBodies[0].replaceChildren(...lines);
});

window.classify = classify;
window.measure = measure;
window.ready = load().then(
  () => true,
  (error) => {
    element("state").textContent = `not loaded: ${error.message}`;
    return false;
  },
);
