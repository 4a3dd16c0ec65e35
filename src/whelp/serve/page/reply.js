// A text that a model is writing: token by token, each with its probability.

import { counted, duration, h, tipGroup, visible, whole } from "./dom.js";

const percent = (logprob) => {
  const share = Math.exp(logprob) * 100;
  return share >= 99.95 ? "100 %" : share >= 0.1 ? `${share.toFixed(1)} %` : "< 0.1 %";
};

/** Make the element of a growing reply: add(piece), finish(reason). */
export function makeReply() {
  const text = h("div", { class: "reply-text", tabindex: "0", role: "group", "aria-label": "Reply. Arrow keys go through its tokens." });
  const foot = h("p", { class: "foot" });
  const element = h("div", { class: "reply writing" }, text, foot);
  const tokensOf = new WeakMap();
  let held = [], content = "", count = 0, logprobs = 0, started = performance.now(), first = null;

  const makeTip = (span) => h("div", { class: "chances" }, tokensOf.get(span).map((token) => [
    h("p", { class: "chances-head" }, h("b", {}, visible(token.text)), ` ${percent(token.logprob)}`),
    h("ul", {}, token.top.map(([name, logprob]) => {
      const bar = h("span", { class: "chance-bar" });
      bar.style.width = `${Math.max(1, Math.exp(logprob) * 100)}%`;
      return h("li", { class: name === token.text ? "chosen" : "" }, h("code", {}, visible(name)),
        h("span", { class: "chance-track" }, bar), h("span", { class: "chance-share" }, percent(logprob)));
    })),
  ]));
  const describe = (span) => tokensOf.get(span).map((token) =>
    `${token.text}: ${percent(token.logprob)}. Others: ${token.top.filter(([name]) => name !== token.text).slice(0, 3)
      .map(([name, logprob]) => `${name} ${percent(logprob)}`).join(", ")}`).join("; ");
  tipGroup(text, makeTip, describe);

  const add = ({ text: added, tokens }) => {
    first ??= performance.now();
    content += added;
    count += tokens.length;
    for (const token of tokens) logprobs += token.logprob;
    held.push(...tokens);
    if (!added) return;
    if (!held.length) {
      text.append(added);
      return;
    }
    const least = Math.min(...held.map((token) => token.logprob));
    const span = h("span", { class: "token", "data-chance": Math.min(4, Math.floor(-least)) }, added);
    tokensOf.set(span, held);
    held = [];
    text.append(span);
  };

  const finish = (reason) => {
    element.classList.remove("writing");
    const seconds = (performance.now() - (first ?? started)) / 1000;
    const parts = [counted(count, "token")];
    if (count > 1 && seconds > 0.05) parts.push(`${whole(count / seconds)} a second`);
    if (seconds >= 1) parts.push(duration(seconds));
    if (count) parts.push(`perplexity ${Math.exp(-logprobs / count).toFixed(1)}`);
    parts.push({ stop: "ended by itself", length: "reached its length", stopped: "stopped by you" }[reason] ?? reason);
    foot.textContent = parts.join(" · ");
    if (!content) text.append(h("em", { class: "nothing" }, "(nothing: the model ended at once)"));
  };

  return { element, add, finish, get content() { return content; } };
}

/** Run a request into a reply. Gives "stop", "length" or "stopped"; throws what went wrong. */
export async function run(pieces, reply, onGrow) {
  let reason = "stop";
  try {
    for await (const piece of pieces) {
      reply.add(piece);
      if (piece.finish) reason = piece.finish;
      onGrow?.();
    }
  } catch (error) {
    if (error.name !== "AbortError") throw error;
    reason = "stopped";
  }
  reply.finish(reason);
  return reason;
}
