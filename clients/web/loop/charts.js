/** Three forms of chart: lines over days, lines over the last hour, and estimates with their intervals. In the page's own colours. */

import uPlot from "../vendor/uplot/uPlot.esm.js";

const DOT = 4;
const ROW = 30;
const AXIS = 45;
const LETTER = 7;
const DAY = "{D} {MMM}";
const CLOCK = "{HH}:{mm}";
const SHORTEST_S = 300; // that a chart is wide

/** `series` are `{label, colour, dash, values}`, one value for each of `days` (ISO dates). */
export function lines(node, size, days, series) {
  const x = days.map((day) => Date.parse(`${day}T12:00:00Z`) / 1000);
  const options = {
    ...size,
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
    cursor: { y: false },
    legend: { live: false },
    axes: [axis({ values: DAY, space: 60 }), axis({ incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000] })],
    scales: { y: { range: (_, __, most) => [0, Math.max(4, most * 1.1)] } },
    series: [
      {},
      ...series.map(({ label, colour, dash }) => ({
        label,
        stroke: colourOf(colour),
        dash,
        width: 2,
        points: { show: days.length < 40, size: 5, fill: colourOf(colour) },
      })),
    ],
  };
  return new uPlot(options, [x, ...series.map(({ values }) => values)], node);
}

/** `series` are `{colour, dash, values}`, one value for each of `times`; `switches` are times to mark. `show` draws later ones. */
export function courses(node, size, course, written) {
  let { switches } = course;
  const options = {
    ...size,
    cursor: { show: false },
    legend: { show: false },
    padding: [8, 8, 0, 0],
    axes: [axis({ values: CLOCK, space: 70, size: 28 }), axis({ values: (_, splits) => splits.map(written), space: 34, size: 66 })],
    scales: {
      x: { range: (_, first, last) => [Math.min(first, last - SHORTEST_S), last] },
      y: { range: (_, least, most) => (least === null ? [0, 1] : [Math.min(0, least), most > 0 ? most * 1.1 : least < 0 ? 0 : 1]) },
    },
    series: [{}, ...course.series.map(({ colour, dash }) => ({ stroke: colourOf(colour), dash, width: 2, points: { show: false } }))],
    hooks: { draw: [(chart) => marks(chart, switches)] },
  };
  const chart = new uPlot(options, dataOf(course), node);
  return {
    show(later) {
      switches = later.switches;
      chart.setData(dataOf(later));
    },
    destroy: () => chart.destroy(),
  };
}

function dataOf({ times, series }) {
  return [times, ...series.map(({ values }) => values)];
}

function marks(chart, times) {
  const { ctx, bbox } = chart;
  ctx.save();
  ctx.strokeStyle = colourOf("--struck");
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
  for (const time of times) {
    const x = chart.valToPos(time, "x", true);
    if (x >= bbox.left) line(ctx, x, bbox.top, x, bbox.top + bbox.height);
  }
  ctx.restore();
}

/** `rows` are `{label, estimate, low, high}`, one below the other; null where nothing was measured. */
export function intervals(node, { width }, rows, { neutral = null } = {}) {
  const values = rows.flatMap(({ low, high, estimate }) => [low, high, estimate]).filter((value) => value !== null);
  const [least, most] = [Math.min(...values, neutral ?? 0), Math.max(...values, neutral ?? 0)];
  const margin = (most - least || 1) * 0.08;
  const longest = Math.max(...rows.map(({ label }) => label.length));
  const options = {
    width,
    height: AXIS + ROW * rows.length,
    cursor: { show: false },
    legend: { show: false },
    axes: [
      axis({
        side: 3,
        size: Math.min(width * 0.45, 20 + LETTER * longest),
        splits: () => rows.map((_, index) => index),
        values: () => rows.map(({ label }) => label),
        grid: { show: false },
        ticks: { show: false },
      }),
      axis({ side: 2, size: AXIS - 10 }),
    ],
    scales: {
      x: { time: false, ori: 1, dir: -1, range: [-0.5, rows.length - 0.5] },
      y: { ori: 0, range: [least === 0 ? 0 : least - margin, most + margin] },
    },
    series: [{}, { paths: () => null, points: { show: false } }],
    hooks: { draw: [(chart) => whiskers(chart, rows, neutral)] },
  };
  return new uPlot(options, [rows.map((_, index) => index), rows.map(({ estimate }) => estimate)], node);
}

function whiskers(chart, rows, neutral) {
  const { ctx, bbox } = chart;
  const ratio = devicePixelRatio;
  const place = (value) => chart.valToPos(value, "y", true);
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = colourOf("--ink");
  ctx.lineWidth = 2 * ratio;
  if (neutral !== null) {
    ctx.setLineDash([4 * ratio, 4 * ratio]);
    line(ctx, place(neutral), bbox.top, place(neutral), bbox.top + bbox.height);
    ctx.setLineDash([]);
  }
  rows.forEach(({ low, high, estimate }, index) => {
    if (estimate === null) return;
    const y = chart.valToPos(index, "x", true);
    const ends = [low, high].map((end) => place(end ?? estimate));
    line(ctx, ends[0], y, ends[1], y);
    for (const end of ends) line(ctx, end, y - DOT * ratio, end, y + DOT * ratio);
    ctx.beginPath();
    ctx.arc(place(estimate), y, DOT * ratio, 0, 2 * Math.PI);
    ctx.fill();
  });
  ctx.restore();
}

function line(ctx, ...[x1, y1, x2, y2]) {
  ctx.beginPath();
  ctx.moveTo(x1, y1);
  ctx.lineTo(x2, y2);
  ctx.stroke();
}

function axis(options) {
  return {
    stroke: colourOf("--quiet"),
    font: font(),
    grid: { stroke: colourOf("--line"), width: 1 },
    ticks: { stroke: colourOf("--line"), width: 1 },
    ...options,
  };
}

function colourOf(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function font() {
  return `12px ${getComputedStyle(document.body).fontFamily}`;
}
