/** What the server understood of a correction, when it counts, and who learned from it. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { storedSpans } from "./span_list.js";

const LEARNED = { train: "learned from it", held_out: "was judged by it", general: "was judged by it" };

export function storedView(correction, nextRun) {
  return html`<section class="stored" aria-label="Stored correction">
    ${
      correction.spans.length
        ? html`<p class="stored-head">${tick()} Correction stored. Understood as:</p>
            ${storedSpans(correction)}`
        : html`<p class="stored-head">${tick()} Stored: nothing was wrong.</p>`
    }
    <p class="quiet">${when(correction, nextRun)}${correction.author ? html` By ${correction.author}.` : nothing}</p>
    ${(correction.used_by ?? []).map(
      ({ version, role, status }) =>
        html`<p class="quiet used"><a href="#/loop/${version}" class="version">${version}</a> ${LEARNED[role]} (${status}).</p>`,
    )}
  </section>`;
}

/** When it counts, in a sentence. `nextRun` is that of /v1/statistics, or null where that may not be asked. */
export function when({ status, reason, used_by }, nextRun) {
  if (status === "nothing_wrong") return "It counts in the rates, not in the training.";
  if (status === "quarantined") return `Held back until somebody has looked at it (${reason}).`;
  if (status === "rejected") return "Rejected: it does not count.";
  if (used_by?.length) return "";
  if (!nextRun) return "It counts in the next run.";
  if (nextRun.is_running) return "A run is under way; this counts in the one after it.";
  const { new_corrections, needed } = nextRun;
  return `It counts in the next run: ${new_corrections} of the ${needed} new corrections that start it are there.`;
}

function tick() {
  return html`<span class="tick" aria-hidden="true">✓</span>`;
}
