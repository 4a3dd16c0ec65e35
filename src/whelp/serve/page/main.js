// Tabs, colours, the token; each tab is a module that is started when it is first opened.

import { getJson, setTokenPrompt, takeTokenFromAddress } from "./api.js";
import { errorCard, h, hideTip } from "./dom.js";
import { openChat } from "./chat.js";
import { openCompare } from "./compare.js";
import { openData } from "./data.js";
import { openTraining } from "./training.js";
import { openVocabulary } from "./vocabulary.js";

const OPENERS = { chat: openChat, compare: openCompare, training: openTraining, data: openData, vocabulary: openVocabulary };
const tabs = [...document.querySelectorAll("[role=tab]")];
const opened = {};
let state = null;

function show(name, mustFocus = false) {
  hideTip();
  for (const tab of tabs) {
    const isChosen = tab.dataset.tab === name;
    tab.setAttribute("aria-selected", String(isChosen));
    tab.tabIndex = isChosen ? 0 : -1;
    document.getElementById(`panel-${tab.dataset.tab}`).hidden = !isChosen;
    if (isChosen) {
      tab.scrollIntoView({ block: "nearest", inline: "nearest" });
      if (mustFocus) tab.focus();
    }
  }
  document.title = `${name[0].toUpperCase()}${name.slice(1)} · ${state?.run ?? state?.models[0]?.id ?? "whelp"}`;
  for (const [other, view] of Object.entries(opened)) view?.onVisible?.(other === name, !mustFocus);
  if (state && !(name in opened)) {
    opened[name] = OPENERS[name](document.getElementById(`panel-${name}`), state);
    opened[name]?.onVisible?.(true, !mustFocus);
  }
}

const nameInAddress = () => {
  const name = location.hash.slice(1);
  return name in OPENERS ? name : "chat";
};

for (const tab of tabs) {
  tab.addEventListener("click", () => {
    history.replaceState(null, "", `#${tab.dataset.tab}`);
    show(tab.dataset.tab);
  });
  tab.addEventListener("keydown", (event) => {
    const at = tabs.indexOf(tab);
    const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    const chosen = tabs[(next + tabs.length) % tabs.length];
    history.replaceState(null, "", `#${chosen.dataset.tab}`);
    show(chosen.dataset.tab, true);
  });
}
window.addEventListener("hashchange", () => show(nameInAddress()));

const THEMES = { auto: "as the system has them", light: "light", dark: "dark" };
const themeButton = document.getElementById("theme");

function setTheme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  themeButton.setAttribute("aria-label", `Colours: ${THEMES[name]}`);
  themeButton.querySelector(".theme-name").textContent = name[0].toUpperCase() + name.slice(1);
  localStorage.setItem("whelp-theme", name);
}

themeButton.addEventListener("click", () => {
  const names = Object.keys(THEMES);
  setTheme(names[(names.indexOf(localStorage.getItem("whelp-theme") ?? "auto") + 1) % names.length]);
});
setTheme(localStorage.getItem("whelp-theme") in THEMES ? localStorage.getItem("whelp-theme") : "auto");

function askForToken(message) {
  return new Promise((resolve) => {
    const field = h("input", { type: "password", id: "token", autocomplete: "off", required: true });
    const dialog = h(
      "dialog",
      { class: "ask", "aria-labelledby": "token-title" },
      h(
        "form",
        { method: "dialog", onsubmit: () => resolve(field.value.trim()) },
        h("h2", { id: "token-title" }, "This server needs its token"),
        message && h("p", { class: "error" }, message),
        h("p", {}, "It is the one that ", h("code", {}, "whelp serve"), " was started with, or printed in its terminal."),
        h("label", { for: "token" }, "Token"),
        field,
        h("div", { class: "row end" }, h("button", { class: "primary" }, "Open")),
      ),
    );
    dialog.addEventListener("cancel", () => resolve(null));
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  });
}

async function start() {
  takeTokenFromAddress();
  setTokenPrompt(askForToken);
  const panel = document.getElementById(`panel-${nameInAddress()}`);
  try {
    state = await getJson("/api/state");
  } catch (error) {
    show(nameInAddress());
    panel.replaceChildren(h("div", { class: "narrow" }, errorCard(error, () => location.reload())));
    return;
  }
  document.documentElement.dataset.ready = "yes";
  show(nameInAddress());
}

start();
