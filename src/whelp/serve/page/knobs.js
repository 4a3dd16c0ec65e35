// The settings of a request, as a form that remembers itself in this browser.

import { h } from "./dom.js";

const KNOBS = [
  { name: "temperature", label: "Temperature", min: 0, max: 2, step: 0.05, start: 0.7, about: "0 always takes the likeliest token; higher is wilder." },
  { name: "top_p", label: "Top-p", min: 0, max: 1, step: 0.01, start: 0.95, about: "Choose among the likeliest that together have this probability." },
  { name: "top_k", label: "Top-k", min: 0, max: 200, step: 1, start: 0, about: "Choose among the k likeliest; 0 means all." },
  { name: "min_p", label: "Min-p", min: 0, max: 1, step: 0.01, start: 0, about: "Leave out what is less likely than this share of the likeliest." },
  { name: "repetition_penalty", label: "Repetition penalty", min: 1, max: 2, step: 0.01, start: 1.1, about: "Above 1, what is there already becomes less likely." },
];

const STORE = "whelp-knobs";

function read() {
  try {
    return JSON.parse(localStorage.getItem(STORE)) ?? {};
  } catch {
    return {};
  }
}

/** Build the form; give {element, values()}. */
export function makeKnobs(prefix, state) {
  const kept = read();
  const fields = {};
  const save = () => localStorage.setItem(STORE, JSON.stringify(raw()));
  const rows = KNOBS.map((knob) => {
    const id = `${prefix}-${knob.name}`;
    const output = h("output", { for: id });
    const start = typeof kept[knob.name] === "number" ? kept[knob.name] : knob.start;
    const field = h("input", {
      type: "range", id, min: knob.min, max: knob.max, step: knob.step, value: start, "aria-describedby": `${id}-about`,
      oninput: () => { output.textContent = field.value; save(); },
    });
    field.value = start;
    output.textContent = field.value;
    fields[knob.name] = field;
    return h("div", { class: "knob" }, h("div", { class: "knob-head" }, h("label", { for: id }, knob.label), output), field,
      h("p", { class: "about", id: `${id}-about` }, knob.about));
  });
  const length = h("input", { type: "number", id: `${prefix}-max`, min: 1, max: state.max_tokens, step: 1, value: kept.max_tokens ?? 200, oninput: save });
  const seed = h("input", { type: "number", id: `${prefix}-seed`, min: 0, step: 1, placeholder: "random", value: kept.seed ?? "", oninput: save });
  const stop = h("input", { type: "text", id: `${prefix}-stop`, placeholder: "none", value: kept.stop ?? "", oninput: save });

  const raw = () => ({
    ...Object.fromEntries(KNOBS.map(({ name }) => [name, Number(fields[name].value)])),
    max_tokens: Number(length.value) || 200,
    seed: seed.value,
    stop: stop.value,
  });
  const reset = () => {
    for (const { name, start } of KNOBS) {
      fields[name].value = start;
      fields[name].dispatchEvent(new Event("input"));
    }
    length.value = 200;
    seed.value = stop.value = "";
    save();
  };

  const element = h("div", { class: "knobs" },
    rows,
    h("div", { class: "knob-pair" },
      h("div", {}, h("label", { for: length.id }, "Most tokens"), length),
      h("div", {}, h("label", { for: seed.id }, "Seed"), seed)),
    h("div", { class: "knob" }, h("label", { for: stop.id }, "Stop at this text"), stop),
    h("button", { type: "button", class: "small quiet", onclick: reset }, "Back to the defaults"));

  const values = () => {
    const { seed: seedText, stop: stopText, max_tokens, ...others } = raw();
    const settings = { ...others, max_tokens: Math.min(Math.max(1, Math.round(max_tokens)), state.max_tokens) };
    if (seedText !== "" && Number.isInteger(Number(seedText))) settings.seed = Number(seedText);
    if (stopText) settings.stop = [stopText.replaceAll("\\n", "\n")];
    return settings;
  };
  return { element, values };
}

/** A drop-down of the models; nothing to choose when there is one. */
export function makeModelChoice(id, label, state, chosen, onchange) {
  const select = h("select", { id, onchange: () => onchange?.(select.value) },
    state.models.map((model) => h("option", { value: model.id, selected: model.id === chosen }, model.id)));
  return { element: h("div", { class: "field" }, h("label", { for: id }, label), select), select };
}
