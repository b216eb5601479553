/** How much is corrected, day by day and version by version. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { intervals, lines } from "./charts.js";
import "./figure.js";

const OLD_S = 60;

export function nextRunView({ new_corrections, needed, is_running }, start) {
  return html`<section class="card next-run">
    <div>
      <h2>The next run</h2>
      <p class="quiet">
        ${is_running ? "A run is under way. " : ""}${new_corrections} of ${needed} new corrections are there; at ${needed} a run starts by itself.
      </p>
      <progress max=${needed} .value=${Math.min(new_corrections, needed)} aria-label="New corrections">${new_corrections}</progress>
    </div>
    <button type="button" @click=${start}>Learn now</button>
  </section>`;
}

/** Large stores are not counted anew each time; `counted` is in seconds. */
export function agedView(counted) {
  if (Date.now() / 1000 - counted < OLD_S) return nothing;
  return html`<p class="quiet">Answers and corrections as they were at ${new Date(counted * 1000).toLocaleTimeString()}.</p>`;
}

export function byDay(days) {
  const series = [
    { name: "accepted", label: "accepted", colour: "--inserted" },
    { name: "nothing_wrong", label: "nothing wrong", colour: "--focus", dash: [6, 4] },
    { name: "quarantined", label: "held back", colour: "--edge", dash: [2, 3] },
    { name: "rejected", label: "rejected", colour: "--struck", dash: [10, 3] },
  ];
  const figure = {
    title: "Corrections by day",
    note: "What people said about answers; only what is accepted teaches.",
    columns: ["Day", "Answers", ...series.map(({ label }) => label)],
    rows: days.map((day) => [day.date, day.answers, ...series.map(({ name }) => day[name])]),
    chart: (node, size) =>
      lines(
        node,
        size,
        days.map(({ date }) => date),
        // a line along the bottom says nothing that the table does not
        series
          .map((one) => ({ ...one, values: days.map((day) => day[one.name]) }))
          .filter(({ name, values }) => name === "accepted" || values.some((value) => value > 0)),
      ),
  };
  return html`<errata-figure class="card" .figure=${figure}></errata-figure>`;
}

export function byVersion(adapters) {
  const figure = {
    title: "Corrected answers of 1,000, by version",
    note: "With 95 % intervals. Fewer is better, as long as people look as often.",
    columns: ["Version", "Answers", "Corrected", "Nothing wrong", "Corrected of 1,000", "From", "To"],
    rows: adapters.map((one) => [
      one.version,
      one.answers,
      one.corrected,
      one.nothing_wrong,
      ...[one.corrected_per_1000, one.low, one.high].map(shown),
    ]),
    chart: (node, size) =>
      intervals(
        node,
        size,
        adapters.map(({ version, corrected_per_1000, low, high }) => ({ label: version, estimate: corrected_per_1000, low, high })),
      ),
  };
  return html`<errata-figure class="card" .figure=${figure}></errata-figure>`;
}

export function byKind(kinds) {
  const entries = Object.entries(kinds).sort(([, one], [, other]) => other - one);
  const most = Math.max(1, ...entries.map(([, count]) => count));
  return html`<section class="card">
    <h2>What was wrong</h2>
    <table class="bars">
      <caption class="only-heard">Corrected words by kind</caption>
      <tbody>
        ${entries.map(
          ([kind, count]) =>
            html`<tr>
              <th scope="row">${kind}</th>
              <td><meter max=${most} .value=${count} aria-hidden="true"></meter></td>
              <td class="number">${count}</td>
            </tr>`,
        )}
      </tbody>
    </table>
  </section>`;
}

function shown(value) {
  return value === null ? "–" : value.toFixed(1);
}
