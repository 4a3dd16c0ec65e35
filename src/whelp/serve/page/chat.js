// Talk to a model: a conversation, or a text that it goes on with.

import { generate, getJson } from "./api.js";
import { amount, announce, emptyState, errorCard, h, hideTip } from "./dom.js";
import { makeKnobs, makeModelChoice } from "./knobs.js";
import { makeReply, run } from "./reply.js";

const PLAIN_STARTS = ["Once upon a time", "The meaning of life is", "def main():"];
const CHAT_STARTS = ["Who are you?", "Tell me a short story.", "Explain rain to a child."];

export function openChat(panel, state) {
  if (!state.models.length) {
    panel.replaceChildren(emptyState("No model yet", "This run has not written its first checkpoint.",
      "Watch it under Training; serve it again when there is a checkpoint to talk to."));
    return {};
  }
  const modelOf = (id) => state.models.find((model) => model.id === id);
  let chosen = state.models[0];
  let mode = chosen.has_chat_template ? "chat" : "continue";
  let turns = [];  // {role, content, element}
  let abort = null;

  const log = h("div", { class: "log", role: "log", "aria-label": "Conversation", "aria-live": "off" });
  const field = h("textarea", { id: "chat-text", rows: 1, onkeydown: onKey, oninput: grow });
  const fieldLabel = h("label", { for: "chat-text", class: "unseen" });
  const send = h("button", { type: "submit", class: "primary", id: "chat-send" }, "Send");
  const composer = h("form", { class: "composer", onsubmit: onSubmit }, fieldLabel, field, send);
  const hint = h("p", { class: "hint" });
  const knobs = makeKnobs("chat", state);
  const system = h("textarea", { id: "chat-system", rows: 3, placeholder: "none" });
  const systemField = h("div", { class: "knob" }, h("label", { for: "chat-system" }, "System message"), system);
  const colour = h("input", { type: "checkbox", id: "chat-colour", onchange: () => log.classList.toggle("coloured", colour.checked) });
  const modes = h("fieldset", { class: "segments" }, h("legend", { class: "unseen" }, "What the model does"),
    [["chat", "Chat"], ["continue", "Continue a text"]].map(([value, label]) => [
      h("input", { type: "radio", name: "mode", id: `mode-${value}`, value, checked: mode === value, onchange: () => setMode(value) }),
      h("label", { for: `mode-${value}` }, label),
    ]));
  const choice = makeModelChoice("chat-model", "Model", state, chosen.id, (id) => {
    chosen = modelOf(id);
    if (!turns.length) restart();
  });
  choice.element.classList.add("inline");
  const fresh = h("button", { type: "button", class: "small quiet", onclick: restart }, "New");

  const settings = h("details", { class: "side" }, h("summary", {}, "Settings"), h("div", { class: "side-body" },
    systemField, h("div", { class: "check" }, colour, h("label", { for: "chat-colour" }, "Colour tokens by probability")), knobs.element));
  settings.open = window.matchMedia("(min-width: 60rem)").matches;

  panel.replaceChildren(h("div", { class: "talk" },
    h("div", { class: "stage" },
      h("div", { class: "row tools" }, modes, state.models.length > 1 && choice.element, h("span", { class: "grow" }), fresh),
      log, h("div", { class: "dock" }, composer, hint)),
    settings));

  function setMode(value) {
    mode = value;
    restart();
  }

  function restart() {
    abort?.abort();
    turns = [];
    log.replaceChildren();
    systemField.hidden = mode !== "chat";
    fieldLabel.textContent = mode === "chat" ? "Message" : "Text to continue";
    field.placeholder = mode === "chat" ? `Message ${chosen.id}` : "Begin a text";
    hint.textContent = mode === "chat" && !chosen.has_chat_template
      ? "This model has no chat template: the conversation is written down as User: and Assistant:, and the model goes on."
      : mode === "chat" ? "Enter sends, Shift+Enter begins a new line." : "Enter continues, Shift+Enter begins a new line. Point at a word to see what else it could have been.";
    showStarts();
    setBusy(false);
  }

  async function showStarts() {
    const starts = h("div", { class: "starts" });
    const about = chosen.about;
    const facts = [about.num_parameters && `${amount(about.num_parameters)} parameters`,
      about.step && `step ${about.step.toLocaleString("en")}`, `${chosen.context_tokens.toLocaleString("en")} tokens of context`].filter(Boolean);
    log.replaceChildren(h("div", { class: "empty" }, h("img", { src: "/page/icon.svg", alt: "", width: 56, height: 56 }),
      h("h2", {}, mode === "chat" ? `Talk to ${chosen.id}` : `Let ${chosen.id} go on`), h("p", { class: "muted" }, facts.join(" · ")), starts));
    let texts = mode === "chat" ? CHAT_STARTS : PLAIN_STARTS;
    if (mode === "continue" && state.run) {
      try {
        const found = (await getJson("/api/run/records")).samples.records.map((record) => record.prompt).filter(Boolean);
        if (found.length) texts = [...new Set(found)].slice(0, 4);
      } catch { /* without them, the general ones do */ }
    }
    starts.replaceChildren(...texts.map((text) => h("button", { type: "button", class: "chip", onclick: () => { field.value = text; grow(); ask(); } }, text.trim())));
  }

  function grow() {
    field.style.height = "auto";
    field.style.height = `${Math.min(field.scrollHeight + 2, 240)}px`;
  }

  function onKey(event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      if (!abort) ask();
    }
    if (event.key === "Escape") abort?.abort();
  }

  function onSubmit(event) {
    event.preventDefault();
    if (abort) abort.abort();
    else ask();
  }

  function setBusy(isBusy) {
    send.textContent = isBusy ? "Stop" : mode === "chat" ? "Send" : "Continue";
    send.classList.toggle("stop", isBusy);
    if (!isBusy) abort = null;
  }

  function ask() {
    const content = field.value;
    if (!content.trim() && mode === "chat") return;
    field.value = "";
    grow();
    addUser(content);
    answer();
  }

  function addUser(content) {
    if (!turns.length) log.replaceChildren();
    const turn = { role: "user", content };
    const body = h("div", { class: "said" }, content || "(an empty text)");
    turn.element = h("article", { class: `turn user ${mode}`, "aria-label": mode === "chat" ? "You" : "Your text" }, body,
      h("div", { class: "actions" }, h("button", { type: "button", class: "small quiet", onclick: () => edit(turn) }, "Edit")));
    turns.push(turn);
    log.append(turn.element);
    turn.element.scrollIntoView({ block: "end" });
  }

  function edit(turn) {
    const box = h("textarea", { rows: 3, value: turn.content, "aria-label": "Edit your text" });
    const done = () => {
      cutAt(turn);
      addUser(box.value);
      answer();
    };
    const old = [...turn.element.childNodes];
    box.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); done(); }
      if (event.key === "Escape") turn.element.replaceChildren(...old);
    });
    turn.element.replaceChildren(h("div", { class: "editing" }, box, h("div", { class: "row end" },
      h("button", { type: "button", class: "small quiet", onclick: () => turn.element.replaceChildren(...old) }, "Leave as it was"),
      h("button", { type: "button", class: "small primary", onclick: done }, mode === "chat" ? "Send again" : "Continue again"))));
    box.focus();
  }

  function cutAt(turn) {
    abort?.abort();
    const at = turns.indexOf(turn);
    for (const { element } of turns.slice(at)) element.remove();
    turns = turns.slice(0, at);
  }

  async function answer() {
    hideTip();
    const mine = abort = new AbortController();
    setBusy(true);
    const reply = makeReply();
    const turn = { role: "assistant", content: "" };
    turn.element = h("article", { class: `turn assistant ${mode}`, "aria-label": `Reply of ${chosen.id}`, "aria-busy": "true" }, reply.element);
    const before = mode === "chat" ? turns.map(({ role, content }) => ({ role, content })) : [];
    const prompt = turns.map((entry) => entry.content).join("");
    turns.push(turn);
    log.append(turn.element);
    const ask = mode === "chat"
      ? { model: chosen.id, messages: [...(system.value.trim() ? [{ role: "system", content: system.value }] : []), ...before] }
      : { model: chosen.id, prompt };
    const again = () => { cutAt(turn); answer(); };
    const follow = () => { if (log.scrollHeight - log.scrollTop - log.clientHeight < 120) log.scrollTop = log.scrollHeight; };
    log.scrollTop = log.scrollHeight;
    try {
      const reason = await run(generate(ask, knobs.values(), mine.signal), reply, () => { turn.content = reply.content; follow(); });
      turn.content = reply.content;
      announce(`The reply ended. ${reply.content.slice(0, 400)}`);
      const copy = h("button", { type: "button", class: "small quiet", onclick: async () => {
        await navigator.clipboard.writeText(reply.content);
        copy.textContent = "Copied";
        setTimeout(() => { copy.textContent = "Copy"; }, 1500);
      } }, "Copy");
      turn.element.append(h("div", { class: "actions" }, h("button", { type: "button", class: "small quiet", onclick: again }, "Retry"), copy,
        mode === "continue" && reason !== "stop" && h("button", { type: "button", class: "small quiet", onclick: (event) => { event.target.remove(); answer(); } }, "Go on")));
    } catch (error) {
      reply.element.remove();
      turn.element.append(errorCard(error, again));
    } finally {
      turn.element.setAttribute("aria-busy", "false");
      if (abort === mine) setBusy(false);
      follow();
    }
  }

  restart();
  return { onVisible: (isVisible, mayFocus) => { if (isVisible && mayFocus) field.focus({ preventScroll: true }); } };
}
