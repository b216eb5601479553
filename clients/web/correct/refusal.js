/** What a person can do where the server did not take a correction. */

export const ANOTHER = "another";
export const EDIT = "edit";
export const CLOSE = "close";

/** `{title, advice, next}`; the server's own message is shown between them. `isByToken`: not signed in, but let in. */
export function refusal({ status }, isByToken) {
  switch (status) {
    case 401:
      if (isByToken) return { title: "You were let in to correct this answer, and that has ended", advice: "Ask whoever let you in for another link; the draft is kept.", next: EDIT };
      return { title: "You are not signed in any more", advice: "Reload this page and sign in; the draft is kept.", next: EDIT };
    case 403:
      return { title: "This key may not correct this answer", advice: "Ask for a key with the scope feedback.", next: CLOSE };
    case 404:
      return { title: "The server does not know this answer", advice: "It may have been asked elsewhere.", next: CLOSE };
    case 409:
      return {
        title: "Another version of this draft is stored already",
        advice: "The connection broke after it had arrived, and the draft was changed since. Send the new one as another correction, or leave it at that.",
        next: ANOTHER,
      };
    case 410:
      return { title: "This answer was deleted", advice: "There is nothing left to correct.", next: CLOSE };
    case 422:
      return { title: "This is no correction of that answer", advice: "Change only the words that are wrong.", next: EDIT };
    default:
      return { title: "The correction was not stored", advice: "The draft is kept.", next: EDIT };
  }
}
