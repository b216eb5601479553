/** One answer at a time, held for this tab so that no two people look at the same one. */

import { uniqueName } from "../server/session.js";

export class Claims {
  current = null;
  #renewal = null;

  constructor(server) {
    this.server = server;
    this.holder = uniqueName();
  }

  /** The next answer that fits and that nobody holds; `{response, num_waiting}`, the response null where none does. */
  async step(filters, direction = "next") {
    const after = this.current?.response?.id;
    return this.#claim({ ...filters, direction, ...(after ? { after } : {}) });
  }

  /** From the newest on, by other filters. */
  async first(filters) {
    return this.#claim(filters);
  }

  /** The answer is for others again; by the time-out too, where this does not arrive. */
  release() {
    clearTimeout(this.#renewal);
    const id = this.current?.response?.id;
    this.current = null;
    if (!id) return;
    this.server
      .delete(`v1/queue/claims/${id}`, { holder: this.holder }, { keepalive: true })
      .catch(() => {}); // it ends by itself
  }

  async #claim(body) {
    clearTimeout(this.#renewal);
    const asked = Object.fromEntries(Object.entries(body).filter(([, value]) => value !== ""));
    const claim = await this.server.post("v1/queue/claims", { holder: this.holder, ...asked });
    if (claim.response || !this.current?.response) this.current = claim;
    if (this.current.response) this.#renewLater(this.current);
    return claim;
  }

  #renewLater({ expires, response }) {
    const pause = Math.max(1000, (expires * 1000 - Date.now()) / 2);
    this.#renewal = setTimeout(async () => {
      const renewed = await this.server
        .post("v1/queue/claims", { holder: this.holder, response_id: response.id })
        .catch(() => null);
      if (this.current?.response?.id === response.id) this.#renewLater(renewed ?? { expires: 0, response });
    }, pause);
  }
}
