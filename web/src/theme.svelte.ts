/** Light or dark, remembered; canvases read their colours from here so that they repaint with it. */

type Scheme = "light" | "dark";

function stored(): Scheme {
  const kept = localStorage.getItem("hortus-theme");
  if (kept === "light" || kept === "dark") return kept;
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

class Theme {
  scheme = $state<Scheme>(stored());
  /** Colours of tiles by status (waiting, right, wrong, none), then of the mark around a tile. */
  tiles = $derived(
    this.scheme === "dark"
      ? ["#39423b", "#4fb582", "#e8795a", "#69736c", "#e6ebe6"]
      : ["#e3e8e1", "#2a8a5a", "#c2502f", "#9aa39c", "#1c221e"],
  );

  apply(): void {
    document.documentElement.dataset.theme = this.scheme;
  }

  flip(): void {
    this.scheme = this.scheme === "dark" ? "light" : "dark";
    localStorage.setItem("hortus-theme", this.scheme);
    this.apply();
  }
}

export const theme = new Theme();

/** Colours of series in a chart, distinct for colour-blind readers (Okabe and Ito's set, two darkened). */
export const SERIES = ["#0072b2", "#d55e00", "#009e73", "#a3508c", "#9a7d00", "#3a97c9", "#6b6b6b", "#b3446c"];
