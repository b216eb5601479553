/** One answer at a time, held for this tab so that no two people look at the same one. */

import { uniqueName } from "../server/session.js";

const SHORTEST_PAUSE_MS = 1000;

export class Claims {
  current = null;
  #renewal = null;
  #renewing = Promise.resolve();

  /** `onLost` is called with the server's refusal where the answer is not ours any more. */
  constructor(server, onLost) {
    this.server = server;
    this.onLost = onLost;
    this.holder = uniqueName();
  }

  /** The next answer that fits and that nobody holds; `{response, num_waiting}`, the response null where none does. */
  async step(filters, direction = "next") {
    const after = this.current?.response?.id;
    return this.#claim({ ...filters, direction, ...(after ? { after } : {}) });
  }

  /** That very one, which was ours before. */
  async again(id) {
    return this.#claim({ response_id: id });
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

  /** Answers to a claim come in the order of their questions: the server holds what was asked for last. */
  async #claim(body) {
    clearTimeout(this.#renewal);
    await this.#renewing;
    const asked = Object.fromEntries(Object.entries(body).filter(([, value]) => value !== ""));
    try {
      const claim = await this.server.post("v1/queue/claims", { holder: this.holder, ...asked });
      if (claim.response || !this.current?.response) this.current = claim;
      return claim;
    } finally {
      if (this.current?.response) this.#renewLater(this.current); // where none other fits, or nobody answers, it stays
    }
  }

  #renewLater({ expires, response }) {
    clearTimeout(this.#renewal);
    const pause = Math.max(SHORTEST_PAUSE_MS, (expires * 1000 - Date.now()) / 2);
    this.#renewal = setTimeout(() => (this.#renewing = this.#renew(response)), pause);
  }

  async #renew(response) {
    try {
      const renewed = await this.server.post("v1/queue/claims", { holder: this.holder, response_id: response.id });
      if (this.current?.response?.id === response.id) this.#renewLater(renewed);
    } catch (error) {
      if (this.current?.response?.id !== response.id) return;
      if (error.status === undefined || error.isPassing) this.#renewLater({ expires: 0, response });
      else this.onLost(error);
    }
  }
}
