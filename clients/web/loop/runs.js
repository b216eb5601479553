/** Runs: how far they are, how they ended, and what the gate said. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { reportView } from "./report.js";

export const UNDER_WAY = ["requested", "running", "gating"];
const SAID = {
  requested: "waits for the aligner",
  running: "training",
  gating: "being measured by the gate",
  admitted: "admitted",
  refused: "refused by the gate",
  held: "held for review",
  failed: "failed",
  cancelled: "cancelled",
};

export function runsView(runs, act) {
  return html`<section class="card">
    <h2>Runs</h2>
    ${runs.length === 0 ? html`<p class="quiet">None yet.</p>` : nothing}
    <ul class="runs">
      ${runs.map((run) => html`<li>${runView(run, act)}</li>`)}
    </ul>
  </section>`;
}

function runView(run, act) {
  const isUnderWay = UNDER_WAY.includes(run.status);
  return html`<div class="run-head">
      <span class="state" data-state=${run.status}>${SAID[run.status] ?? run.status}</span>
      ${run.adapter ? html`<a class="version" href="#/loop/${run.adapter}">${run.adapter}</a>` : nothing}
      <span class="quiet">${new Date(run.created * 1000).toLocaleString()} · ${run.num_corrections} corrections</span>
      ${isUnderWay ? html`<button type="button" @click=${() => act.cancel(run)}>Cancel</button>` : nothing}
    </div>
    ${isUnderWay ? progressView(run.progress ?? {}) : nothing}
    ${run.reason && !run.report?.gate ? html`<p class="quiet">${run.reason}</p>` : nothing}
    ${run.report?.gate ? html`<details><summary>What the gate found</summary>${reportView(run, act.openReport)}</details>` : nothing}`;
}

function progressView(progress) {
  const { step, num_steps, loss } = progress;
  const margin = progress["rewards/margins"];
  return html`<div class="progress">
    ${num_steps ? html`<progress max=${num_steps} .value=${step} aria-label="Steps">${step} of ${num_steps}</progress>` : html`<progress aria-label="Waiting"></progress>`}
    <span class="quiet"
      >${num_steps ? html`step ${step} of ${num_steps}` : nothing}${loss === undefined ? nothing : html` · loss ${loss.toFixed(3)}`}${margin === undefined ? nothing : html` · margin ${margin.toFixed(2)}`}</span
    >
  </div>`;
}
