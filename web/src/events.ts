/** The project's stream of events, handed on once a frame so that a burst of results costs one update. */
import type { Point, Run, Summary, Tile } from "./types";

export type StudioEvent =
  | { kind: "project"; data: { revision: number; sections: string[] } }
  | { kind: "run"; data: Run }
  | { kind: "tiles"; data: { run: string; cards: Record<string, Tile[]> } }
  | { kind: "summaries"; data: { run: string; summaries: Record<string, Summary> } }
  | { kind: "curve"; data: { run: string; points: Record<string, Point> } }
  | { kind: "stopped"; data: { run: string; prompt: string; at: number; reason: string } }
  | { kind: "reset"; data: Record<string, never> };

const KINDS: StudioEvent["kind"][] = ["project", "run", "tiles", "summaries", "curve", "stopped", "reset"];

/** Open the stream; returns what closes it. */
export function listen(project: string, take: (events: StudioEvent[]) => void, lost: (lost: boolean) => void) {
  const source = new EventSource(`/api/projects/${project}/events`);
  let queue: StudioEvent[] = [];
  const flush = () => {
    const events = queue;
    queue = [];
    take(events);
  };
  for (const kind of KINDS)
    source.addEventListener(kind, (event) => {
      // A page in the background gets no frames: then a timer stands in.
      if (!queue.length) document.hidden ? setTimeout(flush, 100) : requestAnimationFrame(flush);
      queue.push({ kind, data: JSON.parse(event.data) } as StudioEvent);
    });
  source.onopen = () => lost(false);
  source.onerror = () => lost(true);
  return () => source.close();
}
