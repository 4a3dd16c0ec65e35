// Rows of the token store as they are trained: what counts, what is padding, which document it is from.

import { getJson } from "./api.js";
import { counted, emptyState, errorCard, h, short, size, tipGroup, visible, whole } from "./dom.js";

const NUM_HUES = 6;

export function openData(panel, state) {
  if (!state.has_store) {
    panel.replaceChildren(emptyState("No token store to show", "Its rows, their origin and the ledger would be here.",
      h("p", {}, "Start the server with ", h("code", {}, "--store STORE"))));
    return {};
  }
  let first = 0;
  const split = h("select", { id: "data-split", onchange: () => { first = 0; load(); } });
  const length = h("input", { type: "number", id: "data-length", min: 8, max: 4096, step: 1, value: 256, onchange: () => { first = 0; load(); } });
  const place = h("input", { type: "number", id: "data-row", min: 0, step: 1, value: 0, onchange: () => { first = Math.max(0, Math.round(Number(place.value) || 0)); load(); } });
  const colour = h("select", { id: "data-colour", onchange: () => { rows.dataset.colour = colour.value; key(); } },
    [["mask", "what is trained"], ["document", "document"], ["token", "token"]].map(([value, label]) => h("option", { value }, label)));
  const back = h("button", { type: "button", class: "small", onclick: () => { first = Math.max(0, first - 3); load(); } }, "Back");
  const forth = h("button", { type: "button", class: "small", onclick: () => { first += 3; load(); } }, "Next");
  const rows = h("div", { class: "rows", "data-colour": "mask" });
  const legend = h("div", { class: "legend" });
  const about = h("div", { class: "cards" });

  const field = (label, control) => h("div", { class: "field" }, h("label", { for: control.id }, label), control);
  panel.replaceChildren(h("div", { class: "wide" }, h("h1", {}, "Data"),
    h("div", { class: "row tools bottom" }, field("Split", split), field("First row", place), field("Tokens in a row", length), field("Colour by", colour),
      h("span", { class: "grow" }), back, forth), legend, rows, about));

  function key() {
    const entries = { mask: [["trained", "trained"], ["masked", "not trained (masked)"], ["padding", "padding"]], document: [["", "each document has a colour"]], token: [["", "neighbouring tokens differ"]] };
    legend.replaceChildren(...entries[colour.value].map(([name, label]) => h("span", { class: `key ${name ? `key-${name}` : "bare"}` }, label)));
  }

  async function load() {
    place.value = first;
    rows.setAttribute("aria-busy", "true");
    try {
      const query = new URLSearchParams({ split: split.value, first, count: 3, context_tokens: Math.max(1, Math.round(Number(length.value) || 256)) });
      const found = await getJson(`/api/store/rows?${query}`);
      rows.replaceChildren(...found.rows.map(drawRow));
      back.disabled = first === 0;
      forth.disabled = found.rows.length < 3;
    } catch (error) {
      rows.replaceChildren(errorCard(error));
      back.disabled = first === 0;
    }
    rows.setAttribute("aria-busy", "false");
  }

  function drawRow(row) {
    const body = h("div", { class: "row-text", tabindex: "0", role: "group", "aria-label": `Row ${row.row}. Arrow keys go through its tokens.` });
    row.tokens.forEach((token, index) => {
      const state = token.padding ? "padding" : token.trained ? "trained" : "masked";
      const span = h("span", { class: `token ${state} ${token.special ? "special" : ""}`, "data-index": index, "data-hue": token.document === null ? "none" : token.document % NUM_HUES, "data-odd": index % 4 },
        token.special ? token.text : token.text.replaceAll("\n", "↵\n"));
      body.append(span);
    });
    const tokenOf = (span) => row.tokens[Number(span.dataset.index)];
    const words = (span) => {
      const token = tokenOf(span);
      return `${visible(token.text)} · id ${token.id} · position ${span.dataset.index} · ${token.padding ? "padding" : token.trained ? "trained" : "not trained"}${token.document === null ? "" : ` · document ${whole(token.document)}`}`;
    };
    tipGroup(body, (span) => h("p", {}, words(span)), words);
    const trained = row.tokens.filter((token) => token.trained).length;
    return h("article", { class: "card" }, h("div", { class: "row" }, h("h2", {}, `Row ${whole(row.row)}`),
      h("p", { class: "muted" }, `${counted(row.tokens.length, "token")}, ${whole(trained)} trained`)), body,
      h("ul", { class: "sources" }, row.documents.map((document) => h("li", {}, h("b", { class: "swatch", "data-hue": document.document % NUM_HUES }, whole(document.document)),
        ` ${document.file}`, document.line ? h("span", { class: "muted" }, `, line ${whole(document.line)}`) : ""))));
  }

  function fact(name, value) {
    return h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, value));
  }

  function drawAbout(store) {
    const splits = Object.entries(store.splits).map(([name, counts]) => fact(name, `${counted(counts.documents, "document")}, ${counted(counts.tokens, "token")}`));
    const ledger = store.ledger;
    const fates = [...Object.entries(ledger.documents ?? {}).map(([name, count]) => [`documents: ${name}`, count]),
      ...Object.entries(ledger.files ?? {}).map(([name, count]) => [`files: ${name}`, count]), ...Object.entries(ledger.notes ?? {})];
    const perToken = ledger.text_bytes && ledger.tokens_in ? `${(ledger.text_bytes / ledger.tokens_in).toFixed(2)} bytes a token` : null;
    about.replaceChildren(
      h("section", { class: "card" }, h("h2", {}, "Store"), h("table", { class: "facts" }, h("tbody", {}, splits,
        fact("vocabulary", `${whole(store.vocab_size)} ids`), ledger.text_bytes ? fact("text", [size(ledger.text_bytes), perToken].filter(Boolean).join(", ")) : null,
        store.plan ? fact("rows of the run", `${store.plan}, ${counted(store.context_tokens, "token")} each`) : null))),
      h("section", { class: "card" }, h("h2", {}, "Ledger"), h("p", { class: "muted" }, "Where every document went."), h("table", { class: "facts" }, h("tbody", {}, fates.map(([name, count]) => fact(name, whole(count)))))),
      h("section", { class: "card" }, h("h2", {}, "Made from"), h("table", { class: "facts" }, h("tbody", {},
        Object.entries(store.config).filter(([, value]) => value !== null && value !== "" && !(typeof value === "object")).map(([name, value]) => fact(name.replaceAll("_", " "), typeof value === "number" ? short(value) : String(value))))),
        h("h3", {}, `${whole(store.num_sources)} source ${store.num_sources === 1 ? "file" : "files"}`),
        h("ul", { class: "sources" }, store.sources.map((name) => h("li", {}, name)), store.num_sources > store.sources.length && h("li", { class: "muted" }, `and ${whole(store.num_sources - store.sources.length)} more`))));
    split.replaceChildren(...Object.keys(store.splits).map((name) => h("option", { value: name }, name)));
    if (store.context_tokens) length.value = Math.min(store.context_tokens, 1024);
  }

  (async () => {
    try {
      drawAbout(await getJson("/api/store"));
      key();
      await load();
    } catch (error) {
      rows.replaceChildren(errorCard(error));
    }
  })();
  return {};
}
