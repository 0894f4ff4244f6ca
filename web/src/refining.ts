/** The history of the prompt being refined: a line of versions and where one stands in it. */
import { studio } from "./studio.svelte";
import type { Draft, Prompt } from "./types";

const MOST_VERSIONS = 200;

export function startRefining({ template, answer_choices, name }: Prompt | Draft): void {
  const first = { template, answer_choices, wordings: {}, name: name || "prompt" };
  studio.project!.refine = { history: [first], at: 0 };
  studio.changed("refine");
  studio.go("refine");
}

/** Put a version after the present one; versions that were undone are dropped. */
export function remember(draft: Draft): void {
  const refine = studio.project!.refine;
  const before = refine.history.slice(0, refine.at + 1);
  refine.history = [...before, draft].slice(-MOST_VERSIONS);
  refine.at = refine.history.length - 1;
  studio.changed("refine");
}

export function step(by: number): void {
  const refine = studio.project!.refine;
  refine.at = Math.min(refine.history.length - 1, Math.max(0, refine.at + by));
  studio.changed("refine");
}
