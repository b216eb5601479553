/** Who sits at this tab: a key, a name, and tokens of single answers. Gone when the tab is closed. */

const KEY = "errata.key";
const NAME = "errata.name";
const TOKEN = "errata.token.";

export const session = {
  get key() {
    return sessionStorage.getItem(KEY);
  },
  get name() {
    return sessionStorage.getItem(NAME) ?? "";
  },
  signIn(key, name) {
    put(KEY, key);
    put(NAME, name);
  },
  signOut() {
    sessionStorage.clear();
  },
  token(responseId) {
    return sessionStorage.getItem(TOKEN + responseId);
  },
  keepToken(responseId, token) {
    put(TOKEN + responseId, token);
  },
};

/** Whether it is good for one answer alone. */
export function isToken(credential) {
  return Boolean(credential?.startsWith("errata-feedback."));
}

function put(name, value) {
  if (value) sessionStorage.setItem(name, value);
  else sessionStorage.removeItem(name);
}

/** A name that nobody else has; `crypto.randomUUID` is missing where a page comes by plain HTTP. */
export function uniqueName() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
