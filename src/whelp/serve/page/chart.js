// Curves as SVG: axes with round numbers, a cross-hair that reads values, a table for those who do not see them.

import { h, s, short, whole } from "./dom.js";

const HEIGHT = 210, LEFT = 58, RIGHT = 14, TOP = 12, BOTTOM = 30;
const LETTER = 7, MARK_ROOM = 70; // widths on the x axis, in pixels
const MAX_POINTS = 600;

/** Round numbers between low and high. */
export function ticks(low, high, count) {
  const span = high - low || Math.abs(high) || 1;
  const raw = span / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= raw);
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-9; value += step) found.push(Number(value.toPrecision(12)));
  return found;
}

/** An average that follows: weight 0 is the curve itself. */
export function smooth(points, weight) {
  let mean = 0, norm = 0;
  return points.map(([x, y]) => {
    mean = mean * weight + y * (1 - weight);
    norm = norm * weight + (1 - weight);
    return [x, mean / norm];
  });
}

function thin(points) {
  if (points.length <= MAX_POINTS) return points;
  const step = points.length / MAX_POINTS;
  const kept = Array.from({ length: MAX_POINTS }, (_, index) => points[Math.floor(index * step)]);
  kept.push(points.at(-1));
  return kept;
}

/** Make a chart over steps: update([{name, points, kind: "faint" | "line" | "dots", tone}]) draws anew, as wide as there is room. */
export function makeChart(title, { isLog = () => false } = {}) {
  const holder = h("div", { class: "chart-holder" });
  const legend = h("div", { class: "legend" });
  const readout = h("p", { class: "readout" });
  const element = h("figure", { class: "chart" }, h("figcaption", {}, h("span", {}, title), readout), holder, legend);
  let series = [], scale = null, width = 0;

  function update(next) {
    series = next.filter((entry) => entry.points.length);
    if (!series.length) {
      holder.replaceChildren(h("p", { class: "muted chart-empty" }, "Nothing recorded yet."));
      legend.replaceChildren();
      return;
    }
    width = Math.max(240, holder.clientWidth || 640);
    const value = (y) => (isLog() ? Math.log10(Math.max(y, 1e-12)) : y);
    const all = series.flatMap((entry) => entry.points);
    let left = Infinity, right = -Infinity;
    for (const [x] of all) { left = Math.min(left, x); right = Math.max(right, x); }
    const heights = all.map(([, y]) => value(y)).sort((a, b) => a - b);
    let low = heights[0], high = heights[Math.min(heights.length - 1, Math.ceil(heights.length * 0.998))];
    const room = (high - low || Math.abs(high) || 1) * 0.06;
    low = !isLog() && low >= 0 && low - room < 0 ? 0 : low - room;
    high += room;
    scale = {
      left, right,
      x: (x) => LEFT + ((x - left) / (right - left || 1)) * (width - LEFT - RIGHT),
      y: (y) => TOP + (1 - (Math.min(value(y), high) - low) / (high - low)) * (HEIGHT - TOP - BOTTOM),
    };
    const svg = s("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": describe() });
    for (const mark of ticks(low, high, 4)) {
      const y = TOP + (1 - (mark - low) / (high - low)) * (HEIGHT - TOP - BOTTOM);
      svg.append(s("line", { x1: LEFT, x2: width - RIGHT, y1: y, y2: y, class: "grid" }),
        s("text", { x: LEFT - 8, y: y + 4, "text-anchor": "end" }, short(isLog() ? 10 ** mark : mark)));
    }
    const axis = "step";
    svg.append(s("text", { x: width - RIGHT, y: HEIGHT - 8, "text-anchor": "end" }, axis));
    for (const mark of ticks(left, right, Math.max(1, Math.floor((width - LEFT - RIGHT) / MARK_ROOM)))) {
      const label = whole(mark), reach = scale.x(mark) + LETTER * (label.length / 2 + axis.length + 1);
      if (Number.isInteger(mark) && reach < width - RIGHT) svg.append(s("text", { x: scale.x(mark), y: HEIGHT - 8, "text-anchor": "middle" }, label));
    }
    for (const entry of series) {
      const points = thin(entry.points).map(([x, y]) => `${scale.x(x).toFixed(1)},${scale.y(y).toFixed(1)}`);
      svg.append(s("polyline", { points: points.join(" "), class: `curve ${entry.kind} ${entry.tone}` }));
      if (entry.kind === "dots" || points.length === 1) {
        for (const point of points) {
          const [cx, cy] = point.split(",");
          svg.append(s("circle", { cx, cy, r: 3, class: `dot ${entry.tone}` }));
        }
      }
    }
    const cross = s("line", { y1: TOP, y2: HEIGHT - BOTTOM, class: "cross", visibility: "hidden" });
    svg.append(cross);
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * width;
      const at = left + ((x - LEFT) / (width - LEFT - RIGHT)) * (right - left);
      const clamped = Math.min(Math.max(at, left), right);
      cross.setAttribute("x1", scale.x(clamped));
      cross.setAttribute("x2", scale.x(clamped));
      cross.setAttribute("visibility", "visible");
      readout.textContent = read(clamped);
    });
    svg.addEventListener("pointerleave", () => { cross.setAttribute("visibility", "hidden"); readout.textContent = newest(); });
    holder.replaceChildren(svg);
    readout.textContent = newest();
    const named = series.filter((entry) => entry.name);
    legend.replaceChildren(...(named.length > 1 ? named.map((entry) => h("span", { class: `key ${entry.tone}` }, entry.name)) : []));
  }

  new ResizeObserver(() => { if (holder.clientWidth && Math.abs(holder.clientWidth - width) > 1 && series.length) update(series); }).observe(holder);

  const nearest = (points, at) => {
    let low = 0, high = points.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (points[middle][0] < at) low = middle; else high = middle;
    }
    return Math.abs(points[low][0] - at) <= Math.abs(points[high][0] - at) ? points[low] : points[high];
  };
  const read = (at) => {
    const named = series.filter((entry) => entry.name);
    const step = nearest(named[0].points, at)[0];
    return `step ${whole(step)}: ${named.map((entry) => `${named.length > 1 ? `${entry.name} ` : ""}${short(nearest(entry.points, step)[1])}`).join(", ")}`;
  };
  const newest = () => series.filter((entry) => entry.name).map((entry, _, named) => `${named.length > 1 ? `${entry.name} ` : ""}${short(entry.points.at(-1)[1])}`).join(", ");
  const describe = () => `${title}. ${series.filter((entry) => entry.name).map((entry) =>
    `${entry.name}: from ${short(entry.points[0][1])} at step ${whole(entry.points[0][0])} to ${short(entry.points.at(-1)[1])} at step ${whole(entry.points.at(-1)[0])}`).join("; ")}.`;

  return { element, update };
}
