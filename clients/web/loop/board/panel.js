/** `<errata-panel>`: one panel of the board, its course as lines, and what it is now in words. */

import { html, nothing, render } from "../../vendor/lit-html/lit-html.js";
import { courses } from "../charts.js";
import { shown } from "./units.js";

const HEIGHT = 150;
const FEW = 6;
const COLOURS = ["--focus", "--inserted", "--struck", "--edge", "--ink"]; // as `.swatch` in loop.css
const DASHES = [[], [7, 4], [2, 3]];

class Panel extends HTMLElement {
  #shown = null;
  #chart = null;
  #drawn = null;
  #dark = matchMedia("(prefers-color-scheme: dark)");

  /** `{panel, times, lines, switches}`, as `History` has them. */
  set course(course) {
    this.#shown = { ...course, lines: worthALine(course) };
    if (this.isConnected) this.#draw();
  }

  connectedCallback() {
    this.#dark.addEventListener("change", this.#anew);
    if (this.#shown) this.#draw();
  }

  disconnectedCallback() {
    this.#dark.removeEventListener("change", this.#anew);
    this.#forget();
  }

  #anew = () => {
    this.#forget();
    this.#draw();
  };

  #draw() {
    const { panel, lines } = this.#shown;
    render(
      html`<h4 title=${panel.words ?? nothing}>${panel.title}</h4>
        ${panel.is_stat ? nothing : html`<div class="chart" aria-hidden="true"></div>`}
        <ul class=${panel.is_stat ? "now is-large" : "now"}>
          ${lines.map(
            ({ label, values }, index) =>
              html`<li>${panel.is_stat ? nothing : html`<i class="swatch" data-colour=${index % COLOURS.length} data-dash=${dashOf(index)}></i>`}${label} <b>${said(values, panel)}</b></li>`,
          )}
          ${lines.length === 0 ? html`<li class="quiet">nothing yet</li>` : nothing}
        </ul>`,
      this,
    );
    if (!panel.is_stat) this.#drawChart(this.querySelector(".chart"));
  }

  /** The same chart as before, as long as it has the same lines and the same place. */
  #drawChart(place) {
    const { panel, times, lines, switches } = this.#shown;
    const width = place.clientWidth;
    if (!width || lines.length === 0) return;
    const drawn = JSON.stringify([width, lines.map(({ label }) => label)]);
    if (drawn !== this.#drawn) this.#forget();
    this.#drawn = drawn;
    const series = lines.map(({ values }, index) => ({ values, colour: COLOURS[index % COLOURS.length], dash: DASHES[dashOf(index)] }));
    const course = { times, series, switches };
    if (this.#chart) this.#chart.show(course);
    else this.#chart = courses(place, { width, height: HEIGHT }, course, (value) => shown(value, panel.unit));
  }

  #forget() {
    this.#chart?.destroy();
    this.#chart = null;
  }
}

/** Of a newest value what is there now; of many lines those that ever left the bottom. */
function worthALine({ panel, lines }) {
  if (panel.is_stat) return lines.filter(({ values }) => values.at(-1) !== null);
  return lines.length <= FEW ? lines : lines.filter(({ values }) => values.some((value) => value !== null && value !== 0));
}

function dashOf(index) {
  return Math.floor(index / COLOURS.length) % DASHES.length;
}

/** What it is now; of `..._info` the labels are all there is to say. */
function said(values, { unit, queries }) {
  return queries[0].metrics?.[0].endsWith("_info") ? "" : shown(values.at(-1), unit);
}

customElements.define("errata-panel", Panel);
