/** Versions: which answers whom, where each comes from, and the change from one to another. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";

const HEADLINES = { "held_out.margin": "margin", "held_out.recurrence": "said again", "truth.wrong": "wrong claims" };

/** Whether another version is about to answer. */
export function isOnItsWay({ rollout, in_force }) {
  return rollout.phase !== "abandoned" && rollout.generation !== in_force.generation;
}

export function rolloutView({ rollout, in_force }, comparison, act) {
  const { live, candidate, share, phase, reason } = rollout;
  const isAbandoned = phase === "abandoned";
  return html`<section class="card rollout">
    <div>
      <h2>In service</h2>
      <p class="serving">
        <span class="version is-live">${in_force.live}</span> answers
        ${in_force.candidate ? html`${percent(1 - in_force.share)}, <span class="version">${in_force.candidate}</span> ${percent(in_force.share)}` : html`everyone`}
      </p>
      ${isOnItsWay({ rollout, in_force }) || isAbandoned ? html`<p class="quiet">${isAbandoned ? "Given up" : "On its way"}: ${live}${candidate ? html` with ${candidate} for ${percent(share)}` : nothing}${isAbandoned ? nothing : ` (${phase})`}.</p>` : nothing}
      ${reason ? html`<p class="quiet">${reason}</p>` : nothing}
      ${comparison ? comparisonView(comparison) : nothing}
    </div>
    <button type="button" @click=${act.rollBack}>Roll back</button>
  </section>`;
}

export function adaptersView({ data, in_force }, chosen, act) {
  return html`<section class="card">
    <h2>Versions</h2>
    <ol class="adapters">
      ${data.map((adapter) => html`<li id="adapter-${adapter.version}" class=${adapter.version === chosen ? "is-chosen" : ""}>${adapterView(adapter, in_force, act)}</li>`)}
      <li>
        <div class="run-head"><span class="version">base</span> <span class="quiet">the model as it was; every version is trained from it</span>
        ${in_force.live === "base" ? nothing : html`<button type="button" @click=${() => act.promote("base", null)}>Promote</button>`}</div>
      </li>
    </ol>
  </section>`;
}

function adapterView(adapter, in_force, act) {
  const { version, status, created, num_pairs, reasons, figures, tainted, story } = adapter;
  const isLive = in_force.live === version;
  return html`<div class="run-head">
      <span class="version ${isLive ? "is-live" : ""}">${version}</span>
      <span class="state" data-state=${status}>${isLive ? "live" : in_force.candidate === version ? "candidate" : status}</span>
      <span class="quiet">${new Date(created * 1000).toLocaleDateString()} · learned from ${num_pairs ?? "?"} corrections</span>
      ${tainted ? html`<span class="state" data-state="refused">learned from what was deleted or rejected</span>` : nothing}
    </div>
    <p class="quiet">
      ${Object.entries(figures).map(([name, change]) => html`<span class="figure-name">${HEADLINES[name] ?? name} ${changeOf(change)}</span> `)}
    </p>
    <details @toggle=${(event) => event.target.open && act.tell(version)}>
      <summary>Where it comes from</summary>
      <ul>
        ${reasons.map((reason) => html`<li>${reason}</li>`)}
      </ul>
      ${story ? lineage(story) : html`<p class="quiet">Looking…</p>`}
    </details>
    ${status === "admitted" && !isLive ? promotion(version, act) : nothing}
    ${status === "held" ? html`<button type="button" @click=${() => act.admit(version)}>Admit</button>` : nothing}
    ${status === "retired" || isLive ? nothing : html`<button type="button" @click=${() => act.retire(version)}>Retire</button>`}`;
}

function promotion(version, act) {
  return html`<form
    class="promotion"
    @submit=${(event) => {
      event.preventDefault();
      const { value } = event.currentTarget.elements.share;
      act.promote(version, Number(value) >= 100 ? null : Number(value) / 100);
    }}
  >
    <label>Promote to <input name="share" type="number" min="0.1" max="100" step="any" value="100" required /> % of the people</label>
    <button type="submit">Promote</button>
  </form>`;
}

/** The corrections and the run that a version is made of. */
function lineage({ manifest, run, num_responses, rollouts, erased, digest }) {
  return html`<dl>
    <dt>Parent</dt>
    <dd>base; compared with ${manifest.live ?? "base"}</dd>
    <dt>Run</dt>
    <dd>${run.id}, ${run.trigger}, ${run.status}</dd>
    <dt>Corrections</dt>
    <dd>${manifest.train?.length ?? 0} taught, ${manifest.held_out?.length ?? 0} judged${erased.length ? html`, ${erased.length} erased since` : nothing}</dd>
    <dt>Answers given</dt>
    <dd>${num_responses}</dd>
    <dt>Served</dt>
    <dd>${rollouts.length ? rollouts.map(({ generation, live, candidate, share }) => html`<span>generation ${generation}: ${live}${candidate ? html` with ${candidate} for ${percent(share)}` : nothing}. </span>`) : "never"}</dd>
    <dt>Digest</dt>
    <dd><code>${digest}</code></dd>
  </dl>`;
}

function comparisonView({ version, other, evidence_corrected, evidence_failed, threshold, num_answers }) {
  const rate = (value) => (value === null ? "–" : value.toFixed(1));
  return html`<p class="quiet">
    ${version.version} against ${other.version}: ${rate(version.corrected_per_1000)} against ${rate(other.corrected_per_1000)} corrected of 1,000,
    ${version.answers} of ${num_answers} answers; evidence ${evidence_corrected.toFixed(1)} and ${evidence_failed.toFixed(1)}, rolled back at ${threshold.toFixed(0)}.
  </p>`;
}

function changeOf({ estimate, low, high }) {
  const shown = (value) => (value === null ? "–" : `${value > 0 ? "+" : ""}${value.toFixed(3)}`);
  return `${shown(estimate)} [${shown(low)}, ${shown(high)}]`;
}

function percent(share) {
  return `${Number((100 * share).toPrecision(3))} %`;
}
