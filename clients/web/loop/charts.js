/** Two forms of chart: lines over days, and estimates with their intervals. In the page's own colours. */

import uPlot from "../vendor/uplot/uPlot.esm.js";

const DOT = 4;

/** `series` are `{label, colour, dash, values}`, one value for each of `days` (ISO dates). */
export function lines(node, size, days, series) {
  const x = days.map((day) => Date.parse(`${day}T12:00:00Z`) / 1000);
  const options = {
    ...size,
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
    cursor: { y: false },
    legend: { live: true },
    axes: [axis({ values: "{YYYY}-{MM}-{DD}", space: 90 }), axis({ incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000] })],
    scales: { y: { range: (_, __, most) => [0, Math.max(4, most * 1.1)] } },
    series: [
      { value: "{YYYY}-{MM}-{DD}" },
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

/** `rows` are `{label, estimate, low, high}`, side by side; null where nothing was measured. */
export function intervals(node, size, rows, { unit = "", neutral = null } = {}) {
  const values = rows.flatMap(({ low, high, estimate }) => [low, high, estimate]).filter((value) => value !== null);
  const [least, most] = [Math.min(...values, neutral ?? 0), Math.max(...values, neutral ?? 0)];
  const margin = (most - least || 1) * 0.12;
  const options = {
    ...size,
    cursor: { show: false },
    legend: { show: false },
    axes: [
      axis({ splits: () => rows.map((_, index) => index), values: () => rows.map(({ label }) => label), grid: { show: false } }),
      axis({ label: unit, labelSize: 20, labelFont: font(), size: 55 }),
    ],
    scales: {
      x: { time: false, range: [-0.6, rows.length - 0.4] },
      y: { range: [least === 0 ? 0 : least - margin, most + margin] },
    },
    series: [{}, { paths: () => null, points: { show: false } }],
    hooks: { draw: [(chart) => whiskers(chart, rows, neutral)] },
  };
  return new uPlot(options, [rows.map((_, index) => index), rows.map(({ estimate }) => estimate)], node);
}

function whiskers(chart, rows, neutral) {
  const { ctx } = chart;
  const ratio = devicePixelRatio;
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = colourOf("--ink");
  ctx.lineWidth = 2 * ratio;
  if (neutral !== null) {
    const y = chart.valToPos(neutral, "y", true);
    ctx.setLineDash([4 * ratio, 4 * ratio]);
    line(ctx, chart.bbox.left, y, chart.bbox.left + chart.bbox.width, y);
    ctx.setLineDash([]);
  }
  rows.forEach(({ low, high, estimate }, index) => {
    if (estimate === null) return;
    const [x, top, bottom, y] = [
      chart.valToPos(index, "x", true),
      ...[high, low, estimate].map((value) => chart.valToPos(value ?? estimate, "y", true)),
    ];
    line(ctx, x, top, x, bottom);
    for (const end of [top, bottom]) line(ctx, x - DOT * ratio, end, x + DOT * ratio, end);
    ctx.beginPath();
    ctx.arc(x, y, DOT * ratio, 0, 2 * Math.PI);
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
