// Type a text; see its tokens.

import { postJson } from "./api.js";
import { counted, emptyState, errorCard, h, tipGroup, visible, whole } from "./dom.js";
import { makeModelChoice } from "./knobs.js";

const SAMPLE = "The quick brown fox jumps over 13 lazy dogs.\nNaïve café, 日本語, 🦊!";
const MAX_LISTED = 500;

export function openVocabulary(panel, state) {
  if (!state.models.length) {
    panel.replaceChildren(emptyState("No vocabulary yet", "It comes with the run's first checkpoint."));
    return {};
  }
  let abort = null, timer = null;
  const field = h("textarea", { id: "vocabulary-text", rows: 5, value: SAMPLE, spellcheck: "false", oninput: () => { clearTimeout(timer); timer = setTimeout(load, 150); } });
  const choice = makeModelChoice("vocabulary-model", "Vocabulary of", state, state.models[0].id, () => load());
  const summary = h("p", { class: "summary", role: "status" });
  const chips = h("div", { class: "token-view", tabindex: "0", role: "group", "aria-label": "Tokens. Arrow keys go through them." });
  const body = h("tbody");
  const note = h("div");
  let tokens = [];
  const words = (span) => {
    const token = tokens[Number(span.dataset.index)];
    return `${visible(token.text)} · id ${token.id} · bytes ${token.start} to ${token.end}`;
  };
  tipGroup(chips, (span) => h("p", {}, words(span)), words);
  panel.replaceChildren(h("div", { class: "wide" }, h("h1", {}, "Vocabulary"),
    h("div", { class: "row" }, h("div", { class: "field grow" }, h("label", { for: "vocabulary-text" }, "Text"), field)),
    state.models.length > 1 && choice.element, summary, note, chips,
    h("div", { class: "table-holder", tabindex: "0", role: "region", "aria-label": "Tokens as a table" }, h("table", { class: "tokens" },
      h("thead", {}, h("tr", {}, ["#", "id", "text", "bytes"].map((name) => h("th", { scope: "col" }, name)))), body))));

  async function load() {
    abort?.abort();
    const mine = abort = new AbortController();
    try {
      const found = await postJson("/api/tokenize", { text: field.value, model: choice.select.value }, mine.signal);
      if (mine !== abort) return;
      tokens = found.tokens;
      const ratio = found.num_tokens ? `, ${(found.num_bytes / found.num_tokens).toFixed(2)} bytes a token` : "";
      summary.textContent = `${counted(found.num_tokens, "token")} for ${counted(found.num_characters, "character")} and ${counted(found.num_bytes, "byte")}${ratio}`;
      note.replaceChildren(...(found.is_exact ? [] : [h("p", { class: "note" }, "This vocabulary changes the text before it cuts it; the offsets are of the changed text.")]));
      chips.replaceChildren(...tokens.map((token, index) => h("span", { class: "token", "data-index": index, "data-odd": index % 4 }, token.text.replaceAll("\n", "↵\n"))));
      if (!tokens.length) chips.replaceChildren(h("span", { class: "muted" }, "No text, no tokens."));
      body.replaceChildren(...tokens.slice(0, MAX_LISTED).map((token, index) => h("tr", {}, h("td", {}, whole(index)), h("td", {}, String(token.id)),
        h("td", {}, h("code", {}, visible(token.text))), h("td", {}, `${token.start}–${token.end}`))));
      if (tokens.length > MAX_LISTED) body.append(h("tr", {}, h("td", { colspan: 4 }, `and ${whole(tokens.length - MAX_LISTED)} more`)));
    } catch (error) {
      if (error.name === "AbortError") return;
      summary.textContent = "";
      note.replaceChildren(errorCard(error));
      chips.replaceChildren();
      body.replaceChildren();
    }
  }

  load();
  return {};
}
