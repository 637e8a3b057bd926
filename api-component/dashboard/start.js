// Loads the page anew where one of its files could not be had, since a limit on requests was reached or a
// server has just been replaced. It is no module, so that it is there before any of them.

const RELOADS = "reloads";
const MOST_RELOADS = 5;
const PAUSE_S = 1.5;

// Without the login that a person may have put into its address: with it, nothing can be fetched.
const PAGE = location.origin + location.pathname;

let isBroken = false;

addEventListener(
  "error",
  ({ target }) => {
    const isFile = target instanceof HTMLScriptElement || target instanceof HTMLLinkElement;
    if (isFile && !isBroken) {
      isBroken = true;
      reloadAfter(PAUSE_S);
    }
  },
  true,
);
addEventListener("load", () => isBroken || sessionStorage.removeItem(RELOADS));

/** Loads the page again once it is to be had: what refuses it would stay on the screen in its place. */
function reloadAfter(pauseS) {
  const reloads = Number(sessionStorage.getItem(RELOADS));
  if (reloads >= MOST_RELOADS) {
    return;
  }
  setTimeout(async () => {
    const headers = { "x-requested-with": "XMLHttpRequest" };
    const page = await fetch(PAGE, { cache: "no-cache", headers }).catch(() => null);
    sessionStorage.setItem(RELOADS, reloads + 1);
    if (page?.ok) {
      location.reload();
    } else {
      reloadAfter(Number(page?.headers.get("retry-after")) || 2 * pauseS);
    }
  }, pauseS * 1000);
}
