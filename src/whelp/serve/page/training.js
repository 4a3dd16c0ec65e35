// The run, while it goes on: asks every two seconds for what was recorded since.

import { getJson } from "./api.js";
import { duration, emptyState, errorCard, h, short, whole } from "./dom.js";
import { makeChart, smooth } from "./chart.js";

const POLL_MS = 2000, QUIET_MS = 30000;

export function openTraining(panel, state) {
  if (!state.run) {
    panel.replaceChildren(emptyState("No run to watch", "A model folder is served, which has no training records.",
      h("p", {}, "Serve a run folder: ", h("code", {}, "whelp serve RUN"))));
    return {};
  }
  let cursors = { metrics: "", samples: "" };
  let train = [], tests = [], samples = [];
  let plan = null, finishedStep = null, timer = null, lastNew = null, isVisible = false, isAsking = false;

  const badge = h("span", { class: "badge" }, "…");
  const bar = h("div", { class: "progress", role: "progressbar", "aria-label": "Training done", "aria-valuemin": 0, "aria-valuemax": 100 }, h("div", { class: "progress-done" }));
  const tiles = h("dl", { class: "tiles" });
  const trouble = h("div");
  const isLog = h("input", { type: "checkbox", id: "loss-log", onchange: draw });
  const smoothing = h("input", { type: "range", id: "loss-smooth", min: 0, max: 0.99, step: 0.01, value: 0.9, oninput: draw });
  const charts = {
    loss: makeChart("Loss, nats per token", { isLog: () => isLog.checked }),
    speed: makeChart("Tokens per second"),
    rate: makeChart("Learning rate"),
    gradient: makeChart("Gradient norm"),
  };
  const prompts = h("select", { id: "sample-prompt", onchange: drawSamples });
  const timeline = h("ol", { class: "timeline" });
  const sampleBox = h("section", { class: "card" }, h("div", { class: "row" }, h("h2", {}, "Samples"), h("span", { class: "grow" }),
    h("div", { class: "field inline" }, h("label", { for: "sample-prompt" }, "Prompt"), prompts)), timeline);
  const planBox = h("div", { class: "plan" });

  panel.replaceChildren(h("div", { class: "wide" },
    h("div", { class: "row" }, h("h1", {}, state.run), badge), bar, trouble, tiles,
    h("div", { class: "row chart-tools" },
      h("div", { class: "check" }, isLog, h("label", { for: "loss-log" }, "Logarithmic loss")),
      h("div", { class: "field inline" }, h("label", { for: "loss-smooth" }, "Smoothing"), smoothing)),
    h("div", { class: "charts" }, Object.values(charts).map((chart) => chart.element)),
    sampleBox, planBox));

  async function readPlan() {
    const found = await getJson("/api/run");
    plan = found.plan;
    const rows = Object.entries(plan ?? {}).filter(([name, value]) => name !== "warnings" && value !== null && typeof value !== "object");
    planBox.replaceChildren(
      ...(plan?.warnings?.length ? [h("ul", { class: "note" }, plan.warnings.map((text) => h("li", {}, text)))] : []),
      h("details", { class: "card" }, h("summary", {}, "Plan"), h("table", { class: "facts" }, h("tbody", {}, rows.map(([name, value]) =>
        h("tr", {}, h("th", { scope: "row" }, name.replaceAll("_", " ")), h("td", {}, typeof value === "number" ? short(value) : String(value))))))),
      h("details", { class: "card" }, h("summary", {}, "Recipe"), h("pre", { tabindex: "0" }, found.recipe)));
  }

  async function poll() {
    clearTimeout(timer);
    if (!isVisible || isAsking) return;
    isAsking = true;
    try {
      if (!plan) await readPlan();
      let hasMore = true;
      while (hasMore) {
        const found = await getJson(`/api/run/records?${new URLSearchParams(cursors)}`);
        take(found);
        hasMore = found.metrics.has_more || found.samples.has_more;
      }
      trouble.replaceChildren();
      draw();
    } catch (error) {
      trouble.replaceChildren(errorCard(error));
    }
    isAsking = false;
    if (isVisible) timer = setTimeout(poll, POLL_MS);
  }

  function take({ metrics, samples: found, finished_step }) {
    finishedStep = finished_step;
    const isFirst = !cursors.metrics && !cursors.samples;
    if (metrics.is_reset) { train = []; tests = []; }
    if (found.is_reset) samples = [];
    for (const record of metrics.records) {
      if (typeof record.loss === "number") train.push(record);
      else if (typeof record.test_nats_per_token === "number") tests.push(record);
    }
    samples.push(...found.records);
    cursors = { metrics: metrics.cursor, samples: found.cursor };
    if ((metrics.records.length || found.records.length) && !isFirst) lastNew = Date.now();
    if (found.records.length || found.is_reset) drawSamples();
  }

  function draw() {
    const last = train.at(-1), test = tests.at(-1);
    const pick = (records, name) => records.filter((record) => typeof record[name] === "number").map((record) => [record.step, record[name]]);
    const loss = pick(train, "loss"), weight = Number(smoothing.value);
    charts.loss.update([
      { name: weight ? "" : "train", points: loss, kind: weight ? "faint" : "line", tone: "tone-a" },
      ...(weight ? [{ name: "train", points: smooth(loss, weight), kind: "line", tone: "tone-a" }] : []),
      { name: "test", points: pick(tests, "test_nats_per_token"), kind: "dots", tone: "tone-b" },
    ]);
    charts.speed.update([{ name: "tokens per second", points: pick(train, "tokens_per_second"), kind: "line", tone: "tone-a" }]);
    charts.rate.update([{ name: "learning rate", points: pick(train, "learning_rate"), kind: "line", tone: "tone-a" }]);
    charts.gradient.update([{ name: "gradient norm", points: pick(train, "gradient_norm"), kind: "line", tone: "tone-a" }]);
    const elapsed = Math.max(last?.elapsed_seconds ?? 0, test?.elapsed_seconds ?? 0);
    const step = Math.max(last?.step ?? 0, test?.step ?? 0);
    const byClock = plan?.budget_seconds ? elapsed / plan.budget_seconds : 0;
    const bySteps = plan && (plan.most_rows || !plan.budget_seconds) ? step / plan.num_steps : 0;
    const share = Math.max(byClock, bySteps);
    const isDone = share >= 1 || (finishedStep !== null && finishedStep >= step); // a longer run goes on from where it ended
    const isLive = !isDone && lastNew !== null && Date.now() - lastNew < QUIET_MS;
    badge.textContent = isDone ? "Finished" : isLive ? "Training" : step ? "Quiet" : "Not begun";
    badge.title = isDone || isLive ? "" : "Nothing new was recorded in the last half minute.";
    badge.className = `badge ${isDone ? "done" : isLive ? "live" : ""}`;
    const percent = Math.min(100, Math.round(share * 100));
    bar.setAttribute("aria-valuenow", percent);
    bar.firstChild.style.width = `${percent}%`;
    const recent = train.slice(-20);
    const speed = recent.reduce((sum, record) => sum + record.tokens_per_second, 0) / (recent.length || 1);
    const left = share > 0 && share < 1 ? (elapsed / share) * (1 - share) : null;
    const facts = [
      ["Step", plan && !plan.budget_seconds ? `${whole(step)} of ${whole(plan.num_steps)}` : whole(step)],
      ["Train loss", last ? short(recent.reduce((sum, record) => sum + record.loss, 0) / recent.length) : "–"],
      ["Test loss", test ? short(test.test_nats_per_token) : "–"],
      ["Bits per byte", test?.test_bits_per_byte ? short(test.test_bits_per_byte) : "–"],
      ["Tokens a second", last ? whole(speed) : "–"],
      ["Tokens read", last ? whole(last.tokens) : "–"],
      [isLive && left !== null ? "Left" : "Time", isLive && left !== null ? `about ${duration(left)}` : duration(elapsed)],
    ];
    tiles.replaceChildren(...facts.map(([name, value]) => h("div", { class: "tile" }, h("dt", {}, name), h("dd", {}, value))));
    tiles.dataset.step = step;
  }

  function drawSamples() {
    const known = [...new Set(samples.map((sample) => sample.prompt))];
    const chosen = known.includes(prompts.value) ? prompts.value : known[0];
    prompts.replaceChildren(...known.map((prompt) => h("option", { value: prompt, selected: prompt === chosen }, prompt.trim().slice(0, 60) || "(an empty text)")));
    sampleBox.hidden = !samples.length;
    timeline.replaceChildren(...samples.filter((sample) => sample.prompt === chosen).reverse().map((sample) => h("li", {},
      h("span", { class: "when" }, `step ${whole(sample.step)}`),
      h("p", { class: "sample" }, h("b", {}, sample.prompt), sample.text))));
  }

  drawSamples();
  return { onVisible: (now) => { isVisible = now; if (now) poll(); else clearTimeout(timer); } };
}
