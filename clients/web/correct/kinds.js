/** What can be wrong with some words. The order is that of the keys 1 to 7. */

export const KINDS = ["object", "attribute", "position", "number", "action", "text", "other"];

/** What is sent where nobody chose. */
export const UNSAID = "other";

/** The kind that a key means, or null. By the key's place, since Alt changes what it writes. */
export function kindOf(event) {
  const digit = /^(?:Digit|Numpad)([1-7])$/.exec(event.code);
  return digit ? KINDS[digit[1] - 1] : null;
}
