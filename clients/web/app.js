/** The page: shows the screen that the address names, once it is known who asks. */

import { chat } from "./chat/chat.js";
import { outbox } from "./correct/outbox.js";
import { readAddress } from "./frame/address.js";
import { oneAnswer } from "./frame/one_answer.js";
import { signIn } from "./frame/sign_in.js";
import { loop } from "./loop/loop.js";
import { queue } from "./queue/queue.js";
import { Server } from "./server/server.js";
import { session } from "./server/session.js";

const SCREENS = { chat, queue, loop };
const main = document.querySelector("main");
const server = new Server(new URL(".", document.baseURI), () => session.key);
let leave = () => {};

async function show() {
  const { screen, id, token } = readAddress(location.hash);
  if (token) {
    session.keepToken(id, token);
    history.replaceState(null, "", `#/answer/${encodeURIComponent(id)}`); // a token is not for others to read
  }
  leave();
  leave = () => {};
  const place = document.createElement("div");
  main.replaceChildren(place);
  mark(screen);
  document.querySelector("#sign-out").hidden = session.key === null;
  const hasEntered = screen === "answer" || (await isKnown());
  if (!place.isConnected) return; // the address has changed meanwhile
  if (!hasEntered) leave = signIn(place, server, show);
  else if (screen === "answer") leave = oneAnswer(place, server, id);
  else leave = (SCREENS[screen] ?? chat)(place, server, id);
}

/** Whether the server takes us as we are: with our key, or without one where it has none. */
async function isKnown() {
  try {
    await server.get("v1/models");
    return true;
  } catch (error) {
    return error.status !== 401;
  }
}

function mark(screen) {
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#/${screen}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

document.querySelector("#sign-out").addEventListener("click", () => {
  session.signOut();
  location.reload();
});
addEventListener("hashchange", show);
show();
outbox.resume((responseId) => (session.token(responseId) ? server.as(() => session.token(responseId)) : server));
