/** `<errata-figure>`: numbers as a chart, and the same numbers as a table. */

import { html, nothing, render } from "../vendor/lit-html/lit-html.js";

const HEIGHT = 220;

class Figure extends HTMLElement {
  #figure = null;
  #said = null;
  #chart = null;
  #size = new ResizeObserver(() => this.#fit());
  #dark = matchMedia("(prefers-color-scheme: dark)");

  /** `{title, note, columns, rows, chart}`: `chart(node, size)` draws and gives uPlot's object. */
  set figure(figure) {
    const said = JSON.stringify([figure.title, figure.note, figure.rows]);
    if (said === this.#said) return;
    this.#said = said;
    this.#figure = figure;
    if (this.isConnected) this.#draw();
  }

  connectedCallback() {
    this.#dark.addEventListener("change", this.#draw);
    if (this.#figure) this.#draw();
  }

  disconnectedCallback() {
    this.#dark.removeEventListener("change", this.#draw);
    this.#size.disconnect();
    this.#chart?.destroy();
    this.#chart = null;
  }

  #draw = () => {
    const { title, note, columns, rows, chart } = this.#figure;
    render(
      html`<figure>
        <figcaption>
          <h2>${title}</h2>
          ${note ? html`<p class="quiet">${note}</p>` : nothing}
        </figcaption>
        <div class="chart" aria-hidden="true"></div>
        <details>
          <summary>As a table</summary>
          ${table(columns, rows)}
        </details>
      </figure>`,
      this,
    );
    this.#chart?.destroy();
    this.#chart = null;
    if (rows.length === 0) return;
    const place = this.querySelector(".chart");
    this.#chart = chart(place, { width: place.clientWidth || 300, height: HEIGHT });
    this.#size.observe(place);
  };

  #fit() {
    const width = this.querySelector(".chart").clientWidth;
    if (this.#chart && width && width !== this.#chart.width) this.#chart.setSize({ width, height: this.#chart.height });
  }
}

export function table(columns, rows) {
  return html`<div class="table" tabindex="0" role="region" aria-label="Table">
    <table>
      <thead>
        <tr>
          ${columns.map((column) => html`<th scope="col">${column}</th>`)}
        </tr>
      </thead>
      <tbody>
        ${rows.map(
          ([first, ...others]) =>
            html`<tr>
              <th scope="row">${first}</th>
              ${others.map((cell) => html`<td>${cell}</td>`)}
            </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}

customElements.define("errata-figure", Figure);
