/** A picture that a person dropped, pasted or chose: read, and shown before it is sent. */

export const ACCEPTED = ["image/png", "image/jpeg", "image/webp", "image/gif"];

/** The first picture among what was dropped or pasted, or null. */
export function pictureIn(transfer) {
  return [...(transfer?.files ?? [])].find((file) => file.type.startsWith("image/")) ?? null;
}

/** As a `data:` URL, the form in which requests carry it. Throws where the server would not take it. */
export async function asDataUrl(blob) {
  if (!ACCEPTED.includes(blob.type)) throw new Error("Only PNG, JPEG, WebP and GIF pictures can be asked about.");
  const reader = new FileReader();
  await new Promise((resolve, reject) => {
    reader.onload = resolve;
    reader.onerror = () => reject(new Error("This picture cannot be read."));
    reader.readAsDataURL(blob);
  });
  return reader.result;
}
