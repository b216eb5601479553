/** An answer's images: they are asked for with a credential, which `<img src>` cannot send. */

const blobs = new Map();
const addresses = new Map();

/** Promise of the image's bytes. */
export function pictureBlob(server, responseId, sha256) {
  const name = `${server.base} ${sha256}`;
  if (!blobs.has(name)) {
    const asked = server.blob(`v1/responses/${responseId}/images/${sha256}`);
    asked.catch(() => blobs.delete(name));
    blobs.set(name, asked);
  }
  return blobs.get(name);
}

/** Promise of a `blob:` address of it, the same each time. */
export async function pictureOf(server, responseId, sha256) {
  const blob = await pictureBlob(server, responseId, sha256);
  if (!addresses.has(blob)) addresses.set(blob, URL.createObjectURL(blob));
  return addresses.get(blob);
}
