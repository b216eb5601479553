/** `<errata-board>`: the panels of the Grafana board, computed here from what `/metrics` says, for who has no Grafana. */

import { html, nothing, render } from "../../vendor/lit-html/lit-html.js";
import { History } from "./history.js";
import "./panel.js";
import { GENERATION, ROWS } from "./panels.js";

const LOOK_MS = 5000;
const histories = new Map(); // by server: it outlives the screen, not the page

class Board extends HTMLElement {
  server = null;
  #history = null;
  #problem = null;
  #timer = null;

  connectedCallback() {
    const { base } = this.server;
    if (!histories.has(String(base))) histories.set(String(base), new History(ROWS, GENERATION));
    this.#history = histories.get(String(base));
    this.#draw();
    this.#follow();
  }

  disconnectedCallback() {
    clearTimeout(this.#timer);
  }

  async #follow() {
    if (!document.hidden) await this.#look();
    if (this.isConnected) this.#timer = setTimeout(() => this.#follow(), LOOK_MS);
  }

  async #look() {
    try {
      const page = await this.server.fetch("GET", "metrics");
      this.#history.look(await page.text(), Date.now() / 1000);
      this.#problem = null;
    } catch (error) {
      this.#problem = error.message;
    }
    this.#draw();
  }

  #draw = () => {
    if (!this.isConnected) return;
    render(
      html`<h2>Board</h2>
        <p class="quiet">
          Of all replicas, every five seconds since this page looks, for an hour at most. A dashed upright line: from here on another version answers.
        </p>
        ${this.#problem ? html`<p class="notice is-problem">The figures could not be read: ${this.#problem}</p>` : nothing}
        ${ROWS.map((row, index) => this.#row(row, index === 0))}`,
      this,
    );
  };

  #row({ title, panels }, isOpenAtFirst) {
    const details = [...this.querySelectorAll("details")].find((one) => one.dataset.row === title);
    const isOpen = details ? details.open : isOpenAtFirst;
    return html`<details class="card" data-row=${title} ?open=${isOpenAtFirst} @toggle=${this.#draw}>
      <summary><h3>${title}</h3></summary>
      <div class="panels">${panels.map((panel) => this.#panel(panel, isOpen))}</div>
    </details>`;
  }

  /** Of a closed row the titles alone. */
  #panel(panel, isOpen) {
    const course = isOpen ? this.#history.course(panel) : { times: [], lines: [] };
    const { switches } = this.#history;
    return html`<errata-panel data-switches=${switches.length} .course=${{ panel, switches, ...course }}></errata-panel>`;
  }
}

customElements.define("errata-board", Board);
