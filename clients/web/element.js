/**
 * `<errata-correct response-id token src>`: an answer to correct, on anybody's page.
 *
 * The token is the one that the answer brought (`feedback_token`), never a key. `src` is the Errata server's address, by
 * default the one this file came from. Tells by the event `errata-stored`.
 */

import "./correct/answer.js";
import { outbox } from "./correct/outbox.js";
import { Server } from "./server/server.js";
import { html, render } from "./vendor/lit-html/lit-html.js";

const HOME = new URL(".", import.meta.url);
const SHEETS = ["colours", "controls", "answer"];

class CorrectElement extends HTMLElement {
  static observedAttributes = ["response-id", "token", "src"];
  #asked = 0;

  constructor() {
    super();
    this.attachShadow({ mode: "open" });
  }

  connectedCallback() {
    this.#read();
  }

  attributeChangedCallback() {
    if (this.isConnected) this.#read();
  }

  async #read() {
    const asked = (this.#asked += 1);
    await null; // several attributes that are set in a row are read once
    if (asked !== this.#asked) return;
    const responseId = this.getAttribute("response-id");
    const base = new URL(this.getAttribute("src") ?? new URL("..", HOME), document.baseURI);
    if (!base.pathname.endsWith("/")) base.pathname += "/";
    const server = new Server(base, () => this.getAttribute("token"));
    try {
      const record = await server.get(`v1/responses/${encodeURIComponent(responseId)}`);
      if (asked !== this.#asked) return;
      this.#show(html`<errata-answer .server=${server} .record=${record}></errata-answer>`);
      outbox.resume(() => server, responseId);
    } catch (error) {
      if (asked === this.#asked) this.#show(html`<p class="notice is-problem" role="alert">${error.message}</p>`);
    }
  }

  #show(content) {
    render(
      html`${SHEETS.map((sheet) => html`<link rel="stylesheet" href=${new URL(`style/${sheet}.css`, HOME)} />`)} ${content}`,
      this.shadowRoot,
    );
  }
}

customElements.get("errata-correct") ?? customElements.define("errata-correct", CorrectElement);
