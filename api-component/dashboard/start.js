// Loads the page anew where one of its files could not be had, since a limit on requests was reached or a
// server has just been replaced. It is no module, so that it is there before any of them.

const RELOADS = "reloads";
const MOST_RELOADS = 4;
const PAUSE_MS = 1500;

let isBroken = false;

addEventListener(
  "error",
  ({ target }) => {
    const isFile = target instanceof HTMLScriptElement || target instanceof HTMLLinkElement;
    if (!isFile || isBroken) {
      return;
    }
    isBroken = true;
    const reloads = Number(sessionStorage.getItem(RELOADS));
    if (reloads < MOST_RELOADS) {
      sessionStorage.setItem(RELOADS, reloads + 1);
      setTimeout(() => location.reload(), PAUSE_MS * 2 ** reloads);
    }
  },
  true,
);
addEventListener("load", () => isBroken || sessionStorage.removeItem(RELOADS));
