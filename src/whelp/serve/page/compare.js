// The same text, or question, to two models side by side.

import { generate } from "./api.js";
import { emptyState, errorCard, h } from "./dom.js";
import { makeKnobs, makeModelChoice } from "./knobs.js";
import { makeReply, run } from "./reply.js";

export function openCompare(panel, state) {
  if (!state.models.length) {
    panel.replaceChildren(emptyState("No model yet", "This run has not written its first checkpoint."));
    return {};
  }
  let abort = null;
  const knobs = makeKnobs("compare", state);
  const columns = ["Left", "Right"].map((side, index) => {
    const chosen = state.models[Math.min(index, state.models.length - 1)].id;
    const choice = makeModelChoice(`compare-${side.toLowerCase()}`, side, state, chosen);
    const output = h("div", { class: "column-output", role: "group", "aria-label": `${side} answer` }, h("p", { class: "muted" }, "Its answer comes here."));
    return { choice, output, element: h("section", { class: "column", "aria-label": side }, choice.element, output) };
  });
  const field = h("textarea", { id: "compare-text", rows: 2, placeholder: "The same beginning for both",
    onkeydown: (event) => { if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); if (!abort) ask(); } } });
  const send = h("button", { type: "submit", class: "primary", id: "compare-send" }, "Compare");
  const asChat = h("input", { type: "checkbox", id: "compare-chat", checked: state.models.every((model) => model.has_chat_template) });
  const composer = h("form", { class: "composer", onsubmit: (event) => { event.preventDefault(); if (abort) abort.abort(); else ask(); } },
    h("label", { for: "compare-text", class: "unseen" }, "Text for both"), field, send);
  const settings = h("details", { class: "side" }, h("summary", {}, "Settings"), h("div", { class: "side-body" },
    h("div", { class: "check" }, asChat, h("label", { for: "compare-chat" }, "Ask as a chat message")), knobs.element));
  settings.open = window.matchMedia("(min-width: 60rem)").matches;

  panel.replaceChildren(h("div", { class: "talk" },
    h("div", { class: "stage" }, composer,
      state.models.length < 2 && h("p", { class: "note" }, "Only one model is served, so both sides are the same one. Start the server with ",
        h("code", {}, "--compare MODEL"), " to put another beside it: an earlier checkpoint, or another run."),
      h("div", { class: "columns" }, columns.map((column) => column.element))),
    settings));

  async function ask() {
    const text = field.value;
    if (!text.trim()) return;
    abort = new AbortController();
    send.textContent = "Stop";
    send.classList.add("stop");
    const values = knobs.values();
    await Promise.all(columns.map(async ({ choice, output }) => {
      const reply = makeReply();
      output.replaceChildren(...(asChat.checked ? [] : [h("span", { class: "given" }, text)]), reply.element);
      output.setAttribute("aria-busy", "true");
      const model = choice.select.value;
      const request = asChat.checked ? { model, messages: [{ role: "user", content: text }] } : { model, prompt: text };
      try {
        await run(generate(request, values, abort.signal), reply);
      } catch (error) {
        reply.element.remove();
        output.append(errorCard(error));
      }
      output.setAttribute("aria-busy", "false");
    }));
    abort = null;
    send.textContent = "Compare";
    send.classList.remove("stop");
  }

  return { onVisible: (isVisible, mayFocus) => { if (isVisible && mayFocus) field.focus({ preventScroll: true }); } };
}
