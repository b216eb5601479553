/**
 * Sends drafts until the server has said yes or no to them, through lost connections and reloads.
 *
 * Tells by events named after the response: detail is `{stored}`, `{refused}` or `{waiting}`.
 */

import { drafts } from "./drafts.js";

const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 30_000;

class Outbox extends EventTarget {
  #inFlight = new Set();
  #timers = new Map();
  #servers = new Map();

  constructor() {
    super();
    globalThis.addEventListener?.("online", () => this.#retryAll());
  }

  send(server, responseId, body) {
    drafts.keep(responseId, { body });
    this.#servers.set(responseId, server);
    return this.#try(responseId, FIRST_PAUSE_MS);
  }

  /** Go on with what a page before this one could not end; `serverOf` gives whom to ask about a response. */
  resume(serverOf, only = null) {
    for (const { responseId } of drafts.underWay()) {
      if (this.#servers.has(responseId) || (only !== null && responseId !== only)) continue;
      this.#servers.set(responseId, serverOf(responseId));
      this.#try(responseId, FIRST_PAUSE_MS);
    }
  }

  /** Stop trying; what was sent already may still be stored. */
  withdraw(responseId) {
    clearTimeout(this.#timers.get(responseId));
    this.#timers.delete(responseId);
    if (drafts.get(responseId)) drafts.keep(responseId, { body: null });
  }

  async #try(responseId, pause) {
    const draft = drafts.get(responseId);
    if (!draft?.body || this.#inFlight.has(responseId)) return;
    clearTimeout(this.#timers.get(responseId));
    this.#inFlight.add(responseId);
    const outcome = await this.#post(draft);
    this.#inFlight.delete(responseId);
    if (isAsSent(draft)) this.#end(responseId, outcome, pause);
    else this.#try(responseId, FIRST_PAUSE_MS); // what was written meanwhile, if that is to be sent
  }

  /** `{stored}`, or `{error}`. */
  async #post({ responseId, key, body }) {
    try {
      return { stored: await this.#servers.get(responseId).post("feedback", body, { headers: { "idempotency-key": key } }) };
    } catch (error) {
      return { error };
    }
  }

  #end(responseId, { stored, error }, pause) {
    if (stored) {
      drafts.drop(responseId);
      this.#tell(responseId, { stored });
    } else if (error.status !== undefined && !error.isPassing) {
      drafts.keep(responseId, { body: null });
      this.#tell(responseId, { refused: error });
    } else {
      const next = Math.min(pause * 2, LONGEST_PAUSE_MS);
      this.#timers.set(responseId, setTimeout(() => this.#try(responseId, next), pause));
      this.#tell(responseId, { waiting: error });
    }
  }

  #retryAll() {
    for (const { responseId } of drafts.underWay()) {
      if (this.#servers.has(responseId)) this.#try(responseId, FIRST_PAUSE_MS);
    }
  }

  #tell(responseId, detail) {
    this.dispatchEvent(new CustomEvent(responseId, { detail }));
  }
}

/** Whether a draft is still what was sent: it can be withdrawn and edited while its request is under way. */
function isAsSent({ responseId, key, body }) {
  const now = drafts.get(responseId);
  return now?.key === key && JSON.stringify(now.body) === JSON.stringify(body);
}

export const outbox = new Outbox();
