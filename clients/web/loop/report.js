/** What the gate measured and decided about one run: reasons, criteria, and each change with its interval. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { intervals } from "./charts.js";
import "./figure.js";

const RATIO = /\.(coverage|length)$/;
const PANELS = [
  { title: "Changes in points", has: (name) => !RATIO.test(name) && !/margin|logp|divergence/.test(name), scale: 100, neutral: 0 },
  { title: "Of the live version's, in per cent", has: (name) => RATIO.test(name), scale: 100, neutral: 100 },
  { title: "Changes in nats per token", has: (name) => /margin|logp|divergence/.test(name), scale: 1, neutral: 0 },
];

export function reportView(run, openReport) {
  const gate = run.report?.gate;
  if (!gate) return html`<p class="quiet">The gate has judged nothing of this run${run.reason ? html`: ${run.reason}` : nothing}.</p>`;
  return html`<div class="report">
    <ul>
      ${gate.reasons.map((reason) => html`<li>${reason}</li>`)}
    </ul>
    <p class="quiet">
      ${gate.num_held_out} held-out corrections, ${gate.num_general} uncorrected answers.
      <button type="button" @click=${() => openReport(run)}>The whole report</button>
    </p>
    <div class="figures">${PANELS.map((panel) => panelView(panel, gate.comparisons))}</div>
    ${
      gate.findings.length
        ? html`<details>
            <summary>What had to hold</summary>
            <ul class="findings">
              ${gate.findings.map(({ standing, words }) => html`<li><span class="standing" data-standing=${standing}>${standing}</span> ${words}</li>`)}
            </ul>
          </details>`
        : nothing
    }
  </div>`;
}

function panelView({ title, has, scale, neutral }, comparisons) {
  const rows = Object.entries(comparisons)
    .filter(([name]) => has(name))
    .map(([name, { change }]) => ({ label: name.replace("_", "-").replace(".", ": "), ...scaled(change, scale) }));
  if (rows.length === 0) return nothing;
  const figure = {
    title,
    columns: ["Figure", "Change", "From", "To"],
    rows: rows.map(({ label, estimate, low, high }) => [label, ...[estimate, low, high].map(shown)]),
    chart: (node, size) => intervals(node, size, rows, { neutral }),
  };
  return html`<errata-figure .figure=${figure}></errata-figure>`;
}

function scaled({ estimate, low, high }, scale) {
  const times = (value) => (value === null ? null : value * scale);
  return { estimate: times(estimate), low: times(low), high: times(high) };
}

function shown(value) {
  return value === null ? "–" : value.toFixed(Math.abs(value) < 1 ? 3 : 1);
}
