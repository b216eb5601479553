/** Which screen the address names. A link's token is behind the `#`, which no browser sends to a server. */

/** `{screen, id, token}` */
export function readAddress(hash) {
  const [path, query] = hash.replace(/^#\/?/, "").split("?");
  const [screen, id = null] = path.split("/").map(decodeURIComponent);
  return { screen: screen || "chat", id, token: new URLSearchParams(query).get("token") };
}
