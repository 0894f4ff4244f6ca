/** Runs as the page shows them: cards that fill while tiles arrive. */
import { get, query } from "./api";
import { CODES, WAITING } from "./results";
import type { Card, Detail, Marginal, Point, Prompt, Run, RunDetail, Summary, Tile } from "./types";

/** One prompt's results. Tiles are plain arrays, and `version` says when they changed: a proxy for each
 * of 24,000 tiles would cost more than drawing them. */
export class CardView {
  readonly prompt: Prompt;
  readonly rows: number[];
  readonly statuses: number[];
  readonly tiles = new Map<number, Tile>();
  readonly #positions = new Map<number, number>();
  version = $state(0);
  summary = $state.raw<Summary | null>(null);
  curve = $state.raw<Point[]>([]);
  state = $state<Card["state"]>("running");
  stoppedAt = $state<number | null>(null);

  constructor(card: Card, rows: number[]) {
    this.prompt = card.prompt;
    this.rows = [...rows];
    this.statuses = rows.map(() => WAITING);
    rows.forEach((row, position) => this.#positions.set(row, position));
    this.take(card);
  }

  take(card: Card): void {
    this.summary = card.summary;
    this.state = card.state;
    this.stoppedAt = card.stopped_at;
    if (card.curve) this.curve = card.curve;
    if (card.tiles) this.add(card.tiles);
  }

  add(tiles: Tile[]): void {
    for (const tile of tiles) {
      let position = this.#positions.get(tile[0]);
      if (position === undefined) {
        position = this.rows.push(tile[0]) - 1;
        this.#positions.set(tile[0], position);
      }
      this.statuses[position] = CODES[tile[1]];
      this.tiles.set(tile[0], tile);
    }
    this.version++;
  }

  addPoint(point: Point): void {
    const last = this.curve.at(-1);
    if (!last || point[0] > last[0]) this.curve = [...this.curve, point];
  }

  /** What a stripe draws: another array after every change, so that it is drawn again. */
  get drawn(): number[] {
    return this.version ? [...this.statuses] : this.statuses;
  }

  get accuracy(): number {
    return this.summary?.accuracy ?? -1;
  }
}

export class RunView {
  run = $state.raw<Run>()!;
  cards = $state.raw<CardView[]>([]);
  marginals = $state.raw<Marginal[]>([]);
  readonly #byPrompt = new Map<string, CardView>();
  readonly #details = new Map<string, Promise<Detail>>();

  constructor(
    readonly project: string,
    detail: RunDetail,
  ) {
    this.take(detail);
  }

  get id(): string {
    return this.run.id;
  }

  get path(): string {
    return `/projects/${this.project}/runs/${this.run.id}`;
  }

  get live(): boolean {
    return this.run.state === "waiting" || this.run.state === "running";
  }

  card(prompt: string): CardView | undefined {
    return this.#byPrompt.get(prompt);
  }

  take(detail: RunDetail): void {
    this.run = detail;
    this.marginals = detail.marginals;
    for (const card of detail.cards) {
      const known = this.#byPrompt.get(card.prompt.id);
      if (known) known.take(card);
      else this.#byPrompt.set(card.prompt.id, new CardView(card, detail.rows ?? []));
    }
    this.cards = [...this.#byPrompt.values()];
  }

  /** A `run` event, which leaves out rows and task. */
  update(run: Run): void {
    this.run = { ...this.run, ...run };
  }

  async reload(): Promise<void> {
    this.take(await get<RunDetail>(this.path));
  }

  /** A large run's tiles, which its detail leaves out. */
  async loadTiles(prompt: string): Promise<void> {
    const { tiles } = await get<{ tiles: Tile[] }>(`${this.path}/tiles${query({ prompt })}`);
    this.card(prompt)?.add(tiles);
  }

  /** The filled prompt and scores of one tile; asked once. */
  detail(prompt: string, row: number): Promise<Detail> {
    const key = `${prompt} ${row}`;
    let found = this.#details.get(key);
    if (!found) {
      found = get<Detail>(`${this.path}/detail${query({ prompt, row })}`);
      this.#details.set(key, found);
      found.then(
        (detail) => detail.predicted ?? detail.answer ?? this.#details.delete(key),
        () => this.#details.delete(key),
      );
    }
    return found;
  }
}

/** A tile under the pointer. */
export interface Hovered {
  card: CardView;
  row: number;
  x: number;
  y: number;
}

/** Rows to drill down to: those of a prompt, narrowed by what is given. */
export interface Wanted {
  prompt: string;
  gold?: string;
  predicted?: string;
  state?: string;
}
