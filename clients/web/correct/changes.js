/** The changed words between the served and the corrected text. Positions count code points, as the server does. */

import { diffArrays } from "../vendor/diff/array.js";
import { UNSAID } from "./kinds.js";

const WORDS = /\p{RGI_Emoji}|\s+|[\p{L}\p{M}\p{N}_]+|./gsv;
const PATIENCE_MS = 200;

/** Words, spaces, signs and emoji; joined they are the text. */
export function words(text) {
  return text.match(WORDS) ?? [];
}

/**
 * Changes in order: `served[start:end]` (code points), which says `removed`, becomes `replacement`, which begins at
 * `at` (UTF-16, as the DOM counts) in the corrected text.
 */
export function changesBetween(served, corrected) {
  if (served === corrected) return [];
  const parts = diffArrays(words(served), words(corrected), { timeout: PATIENCE_MS }) ?? replaced(served, corrected);
  const changes = [];
  let [start, at, change] = [0, 0, null];
  for (const { value, added, removed } of parts) {
    const text = value.join("");
    if (!added && !removed) {
      change = null;
    } else {
      if (change === null) changes.push((change = { start, end: start, removed: "", replacement: "", at, kind: null }));
      if (removed) change.removed += text;
      else change.replacement += text;
    }
    if (!added) start += codePoints(text);
    if (removed) change.end = start;
    else at += text.length;
  }
  return changes;
}

/** The new changes, each with the kind that was chosen before for the same words. */
export function withKinds(changes, earlier) {
  return changes.map((change) => {
    const same =
      earlier.find((one) => one.start === change.start && one.end === change.end) ??
      earlier.find((one) => one.start <= change.end && change.start <= one.end);
    return { ...change, kind: same?.kind ?? null };
  });
}

/** The change that a position of the corrected text (UTF-16) is in, or the one that is nearest to it. */
export function nearest(changes, at) {
  const distance = (change) => Math.max(change.at - at, at - change.at - change.replacement.length, 0);
  return changes.reduce((best, change) => (best && distance(best) <= distance(change) ? best : change), null);
}

/** As `POST /feedback` takes them. */
export function spansOf(changes) {
  return changes.map(({ start, end, replacement, kind }) => ({ start, end, replacement, kind: kind ?? UNSAID }));
}

export function codePoints(text) {
  let count = 0;
  for (const _ of text) count += 1;
  return count;
}

function replaced(served, corrected) {
  return [
    { value: [served], removed: true },
    { value: [corrected], added: true },
  ];
}
