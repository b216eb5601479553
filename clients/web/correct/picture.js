/** `<errata-picture>`: an image to look at closely, by wheel, drag, double click or keys. */

import { html, nothing, render } from "../vendor/lit-html/lit-html.js";

const MOST = 8;
const STEP = 1.4;
const STRIDE = 40;

class Picture extends HTMLElement {
  #src = null;
  #zoom = 1;
  #x = 0;
  #y = 0;

  set src(src) {
    if (src === this.#src) return;
    this.#src = src;
    this.#zoom = 1;
    this.#draw();
  }

  connectedCallback() {
    this.#draw();
  }

  #draw() {
    render(
      html`<div
          class="picture-frame"
          tabindex="0"
          role="group"
          aria-label="The picture. Plus and minus zoom, arrows move, 0 shows all."
          @keydown=${(event) => this.#key(event)}
          @wheel=${{ handleEvent: (event) => this.#wheel(event), passive: false }}
          @pointerdown=${(event) => this.#grab(event)}
          @pointermove=${(event) => this.#drag(event)}
          @dblclick=${(event) => this.#scale(this.#zoom > 1 ? 1 : 3, event)}
        >
          ${this.#src ? html`<img src=${this.#src} alt="What was asked about" draggable="false" />` : nothing}
        </div>
        <div class="picture-tools">
          <button type="button" aria-label="Zoom out" @click=${() => this.#scale(this.#zoom / STEP)}>−</button>
          <button type="button" aria-label="Show all" @click=${() => this.#scale(1)}>1:1</button>
          <button type="button" aria-label="Zoom in" @click=${() => this.#scale(this.#zoom * STEP)}>+</button>
        </div>`,
      this,
    );
    this.#place();
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const moves = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    if (event.key === "+" || event.key === "=") this.#scale(this.#zoom * STEP);
    else if (event.key === "-") this.#scale(this.#zoom / STEP);
    else if (event.key === "0") this.#scale(1);
    else if (event.key in moves && this.#zoom > 1) this.#move(...moves[event.key].map((side) => side * STRIDE));
    else return;
    event.preventDefault();
    event.stopPropagation(); // arrows turn the queue's pages elsewhere
  }

  #wheel(event) {
    event.preventDefault();
    this.#scale(this.#zoom * Math.exp(-event.deltaY / 300), event);
  }

  #grab(event) {
    if (this.#zoom > 1) event.currentTarget.setPointerCapture(event.pointerId);
  }

  #drag(event) {
    if (event.buttons === 1 && this.#zoom > 1) this.#move(event.movementX, event.movementY);
  }

  /** What is under the pointer stays there. */
  #scale(zoom, { clientX, clientY } = {}) {
    const frame = this.firstElementChild.getBoundingClientRect();
    const before = this.#zoom;
    this.#zoom = Math.min(MOST, Math.max(1, zoom));
    const ratio = this.#zoom / before;
    const dx = clientX === undefined ? 0 : clientX - frame.left - frame.width / 2;
    const dy = clientY === undefined ? 0 : clientY - frame.top - frame.height / 2;
    this.#x = dx - (dx - this.#x) * ratio;
    this.#y = dy - (dy - this.#y) * ratio;
    this.#place();
  }

  #move(dx, dy) {
    this.#x += dx;
    this.#y += dy;
    this.#place();
  }

  #place() {
    const image = this.querySelector("img");
    if (!image) return;
    const frame = this.firstElementChild;
    const [wide, high] = [frame.clientWidth, frame.clientHeight].map((side) => (side * (this.#zoom - 1)) / 2);
    this.#x = Math.min(wide, Math.max(-wide, this.#x));
    this.#y = Math.min(high, Math.max(-high, this.#y));
    image.style.transform = `translate(${this.#x}px, ${this.#y}px) scale(${this.#zoom})`;
    frame.classList.toggle("is-zoomed", this.#zoom > 1);
  }
}

customElements.get("errata-picture") ?? customElements.define("errata-picture", Picture);
