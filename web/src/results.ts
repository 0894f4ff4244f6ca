/** Codes of a tile's state, as stripes draw them. */
export const WAITING = 0;
export const RIGHT = 1;
export const WRONG = 2;
export const NONE = 3;

export const CODES = { right: RIGHT, wrong: WRONG, none: NONE } as const;
const NAMES = ["waiting", "right", "wrong", "no answer"];

export function statusName(code: number | undefined): string {
  return NAMES[code ?? WAITING]!;
}

export function percent(share: number | null | undefined, digits = 0): string {
  return share === null || share === undefined || Number.isNaN(share) ? "–" : `${(100 * share).toFixed(digits)} %`;
}

export function points(difference: number): string {
  return `${difference >= 0 ? "+" : "−"}${Math.abs(100 * difference).toFixed(1)}`;
}

export function count(value: number, noun: string): string {
  return `${value.toLocaleString("en")} ${noun}${value === 1 ? "" : "s"}`;
}

/** A cell as one line of text. */
export function cell(value: unknown): string {
  if (value === null || value === undefined) return "";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

export interface Piece {
  text: string;
  kind: "same" | "gone" | "new";
}

/** Word by word, what became of a text: the longest common subsequence of words and blanks. */
export function difference(before: string, after: string): Piece[] {
  const a = before.split(/(\s+)/);
  const b = after.split(/(\s+)/);
  const longest = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      longest[i]![j] =
        a[i] === b[j] ? longest[i + 1]![j + 1]! + 1 : Math.max(longest[i + 1]![j]!, longest[i]![j + 1]!);
  const pieces: Piece[] = [];
  const add = (text: string | undefined, kind: Piece["kind"]) => {
    if (text) pieces.push({ text, kind });
  };
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length)
    if (i < a.length && j < b.length && a[i] === b[j]) add(a[(j++, i++)], "same");
    else if (j >= b.length || (i < a.length && longest[i + 1]![j]! >= longest[i]![j + 1]!)) add(a[i++], "gone");
    else add(b[j++], "new");
  return pieces;
}
