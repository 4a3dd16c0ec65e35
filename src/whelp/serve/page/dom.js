// Making elements. Text only ever becomes text nodes: what a model writes is never read as HTML.

/** Make an element: h("p", {class: "note", onclick: f}, "text", child, ...). */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  append(element, children);
  return element;
}

/** Make an SVG element. */
export function s(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child !== undefined && child !== null && child !== false) element.append(child);
  }
}

/** Say something to screen readers. */
export function announce(text) {
  document.getElementById("announcer").textContent = text;
}

const numbers = new Intl.NumberFormat("en");
export const whole = (value) => numbers.format(Math.round(value));

/** A number with its noun: counted(1, "token") -> "1 token". */
export const counted = (value, noun) => `${whole(value)} ${noun}${value === 1 ? "" : "s"}`;

/** A number with few digits: 12,345  3.142  0.00012 */
export function short(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1000) return whole(value);
  if (size >= 0.0001) return String(Number(value.toPrecision(4)));
  return value.toExponential(1);
}

/** 866123 -> "866 thousand" */
export function amount(value) {
  for (const [unit, factor] of [["billion", 1e9], ["million", 1e6], ["thousand", 1e3]]) {
    if (value >= factor) return `${Number((value / factor).toPrecision(3))} ${unit}`;
  }
  return whole(value);
}

/** 75 -> "1 min 15 s" */
export function duration(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${String(Math.round(seconds % 60)).padStart(2, "0")} s`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

/** Bytes with a unit. */
export function size(bytes) {
  for (const [unit, factor] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) {
    if (bytes >= factor) return `${(bytes / factor).toFixed(1)} ${unit}`;
  }
  return `${bytes} bytes`;
}

/** What cannot be seen in a token, made visible. */
export function visible(text) {
  return text.replaceAll(" ", "·").replaceAll("\n", "↵").replaceAll("\t", "⇥").replaceAll("\r", "␍") || "∅";
}

/** A whole panel for "there is nothing here yet". */
export function emptyState(title, ...lines) {
  return h("div", { class: "empty" }, h("h2", {}, title), lines.map((line) => (typeof line === "string" ? h("p", {}, line) : line)));
}

/** A card that says what went wrong. */
export function errorCard(error, retry) {
  return h(
    "div",
    { class: "error", role: "alert" },
    h("p", {}, error.message),
    retry && h("button", { type: "button", class: "small", onclick: retry }, "Try again"),
  );
}

const tip = () => document.getElementById("tip");

/** Show a tooltip beside an element. */
export function showTip(anchor, content) {
  const box = tip();
  box.replaceChildren(content);
  box.hidden = false;
  const place = (anchor.getClientRects()[0] ?? anchor.getBoundingClientRect());
  const width = box.offsetWidth, height = box.offsetHeight;
  const left = Math.min(Math.max(8, place.left + place.width / 2 - width / 2), window.innerWidth - width - 8);
  const below = place.bottom + 8;
  box.style.left = `${left}px`;
  box.style.top = `${below + height < window.innerHeight - 8 ? below : Math.max(8, place.top - height - 8)}px`;
}

export function hideTip() {
  tip().hidden = true;
}

/** Let a group of spans show tips on hover, and by arrow keys when the group has the focus. */
export function tipGroup(group, makeTip, describe) {
  let active = null;
  const show = (span) => {
    active?.classList.remove("active");
    active = span;
    span.classList.add("active");
    showTip(span, makeTip(span));
  };
  const clear = () => {
    active?.classList.remove("active");
    active = null;
    hideTip();
  };
  group.addEventListener("pointerover", (event) => {
    const span = event.target.closest(".token");
    if (span) show(span);
  });
  group.addEventListener("pointerleave", clear);
  group.addEventListener("blur", clear);
  group.addEventListener("keydown", (event) => {
    const spans = [...group.querySelectorAll(".token")];
    if (!spans.length) return;
    const at = spans.indexOf(active);
    const next = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: spans.length - 1 }[event.key];
    if (event.key === "Escape") clear();
    if (next === undefined) return;
    event.preventDefault();
    const span = spans[Math.min(Math.max(next, 0), spans.length - 1)];
    show(span);
    announce(describe(span));
  });
}

document.addEventListener("scroll", hideTip, { capture: true, passive: true });
