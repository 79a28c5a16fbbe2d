// Shows one part of the page at a time: the one that the address names, or the first. A part is told of it by the
// event `shown`, so that it begins its work only then.

const tabs = Array.from(document.querySelectorAll('[role="tab"]'));
const panelOf = (tab) => document.getElementById(tab.getAttribute("aria-controls"));

function show() {
  const named = tabs.find((tab) => tab.getAttribute("href") === location.hash) ?? tabs[0];
  for (const tab of tabs) {
    const chosen = tab === named;
    tab.setAttribute("aria-selected", String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
    panelOf(tab).hidden = !chosen;
  }
  panelOf(named).dispatchEvent(new Event("shown"));
}

for (const [at, tab] of tabs.entries()) {
  tab.addEventListener("click", (event) => {
    // The browser would also scroll down to the part.
    event.preventDefault();
    history.pushState(null, "", tab.getAttribute("href"));
    show();
  });
  tab.addEventListener("keydown", ({ key }) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
    if (step === undefined) return;
    const next = tabs[(at + step + tabs.length) % tabs.length];
    next.click();
    next.focus();
  });
}
addEventListener("popstate", show);
show();
