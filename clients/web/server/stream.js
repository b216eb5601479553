/** Server-sent events as the chat route sends them: one `data:` line each, `[DONE]` at the end. */

import { ServerError, Unreachable } from "./server.js";

/** The events' bodies. Throws `Unreachable` where the stream breaks off, `ServerError` where it tells an error. */
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read().catch((error) => {
      throw error.name === "AbortError" ? error : new Unreachable();
    });
    if (done) throw new Unreachable(); // before [DONE]
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const data = block.replace(/^data: /, "");
      if (data === "[DONE]") return;
      const event = JSON.parse(data);
      if (event.error) throw new ServerError(500, event.error.message);
      yield event;
    }
  }
}
