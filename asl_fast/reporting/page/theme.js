// SPDX-License-Identifier: Apache-2.0
// Light, dark, or as the system has it. What was chosen is remembered where the browser lets a file do so.

const THEMES = ["auto", "light", "dark"];

function remembered() {
  try {
    return THEMES.includes(localStorage.getItem("asl_fast theme")) ? localStorage.getItem("asl_fast theme") : "auto";
  } catch {
    return "auto";
  }
}

function themeButton() {
  const button = html("button", { type: "button", class: "theme", title: "Light, dark, or as the system has it" });
  const apply = (theme) => {
    document.documentElement.dataset.theme = theme;
    button.textContent = `Theme: ${theme}`;
    button.dataset.theme = theme;
  };
  button.addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(button.dataset.theme) + 1) % THEMES.length];
    apply(next);
    try {
      localStorage.setItem("asl_fast theme", next);
    } catch {
      // It holds until the page is closed.
    }
  });
  apply(remembered());
  return button;
}
