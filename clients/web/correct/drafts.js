/**
 * Corrections that are not stored yet, kept with the tab: a reload or a lost connection loses nothing.
 *
 * A draft has one idempotency key for its whole life, so that however often it is sent it is stored once.
 */

import { uniqueName } from "../server/session.js";

const PREFIX = "errata.draft.";

export const drafts = {
  get(responseId) {
    return JSON.parse(sessionStorage.getItem(PREFIX + responseId));
  },

  /** Keep what is being written. Its body is what was sent, where that may not have arrived. */
  keep(responseId, changes) {
    const draft = { responseId, key: uniqueName(), body: null, ...this.get(responseId), ...changes };
    sessionStorage.setItem(PREFIX + responseId, JSON.stringify(draft));
    return draft;
  },

  drop(responseId) {
    sessionStorage.removeItem(PREFIX + responseId);
  },

  /** Those that were sent without an answer. */
  underWay() {
    return Object.keys(sessionStorage)
      .filter((name) => name.startsWith(PREFIX))
      .map((name) => JSON.parse(sessionStorage.getItem(name)))
      .filter((draft) => draft.body !== null);
  },
};
