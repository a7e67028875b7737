// Light or dark: as the system says, until the button says otherwise.

const KEY = "multirate-theme";

function remembered() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}

/** Make a button switch between light and dark. */
export function themeButton(button) {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
  const show = () => {
    button.setAttribute("aria-pressed", String(dark()));
  };
  const theme = remembered();
  if (theme !== null) {
    document.documentElement.dataset.theme = theme;
  }
  button.addEventListener("click", () => {
    const next = dark() ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    try {
      localStorage.setItem(KEY, next);
    } catch {
      // A browser that keeps nothing still switches.
    }
    show();
  });
  system.addEventListener("change", show);
  show();
}
