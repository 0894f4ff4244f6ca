/** What the server says and takes; docs/studio.md describes the same in words. */

export interface Model {
  id: string;
  name: string;
  kind: string;
  source: string;
  can: string[];
  parameters: number | null;
  state: "ready" | "failed";
  error: string | null;
}

export interface Session {
  version: string;
  limits: { working: number; cards: number; variables: number; wordings: number; upload_bytes: number; large_rows: number };
  models: Model[];
  projects: ProjectHead[];
  metrics: string[];
  initial_project: string | null;
}

export interface ProjectHead {
  id: string;
  name: string;
  created: number;
  changed: number;
  data: string | null;
  rows: number | null;
}

export interface Field {
  name: string;
  kind: "text" | "number" | "true_false" | "list" | "other";
  distinct: number | null;
  example: string;
  empty: number;
}

export interface Data {
  source: string;
  name: string;
  subset: string | null;
  split: string;
  rows: number;
  fields: Field[];
  missing: string | null;
}

export interface Task {
  kind: "choices" | "fields" | "generate" | "template";
  label: string | null;
  classes: { value: string; wording: string }[];
  choice_fields: string[];
  gold: "text" | "number" | "number_from_1" | "letter";
  metric: string;
  max_new_tokens: number;
  stop: string[];
  scoring: "sum" | "per_character" | "beyond_prior";
}

export interface Variable {
  name: string;
  wordings: string[];
}

export interface Variations {
  template: string;
  answer_choices: string | null;
  variables: Variable[];
  mode: "product" | "aligned";
}

export interface Prompt {
  id: string;
  template: string;
  answer_choices: string | null;
  wordings: Record<string, number>;
  name: string;
}

export type Draft = Omit<Prompt, "id">;

export interface CartItem {
  prompt: Prompt;
  note: string;
  added: number;
}

export interface Refinement {
  history: Draft[];
  at: number;
}

export interface View {
  screen: string;
  model: string;
  sort: "score" | "name" | "calibration";
  least: number;
  group: string;
  words: string;
  deploy?: { run: string; prompt: string };
}

export interface Project {
  id: string;
  name: string;
  revision: number;
  data: Data | null;
  working: { rows: number[]; how: string; seed: number };
  task: Task;
  variations: Variations;
  cart: CartItem[];
  refine: Refinement;
  view: View;
}

export type Values = Record<string, unknown>;
export interface Row {
  row: number;
  values: Values;
}

export interface Finding {
  severity: "error" | "warning";
  code: string;
  message: string;
  line: number | null;
  prompt: string | null;
}

export interface Rendered {
  row: number;
  status: "ok" | "skipped" | "unlabelled" | "malformed";
  reason: string;
  input: string;
  choices: string[] | null;
  targets: string[];
}

export interface Run {
  id: string;
  kind: "interactive" | "large";
  slot: string;
  model: string;
  model_name: string;
  state: "waiting" | "running" | "done" | "cancelled" | "failed" | "interrupted";
  error: string | null;
  created: number;
  seconds: number;
  done: number;
  total: number;
  cached: number;
  num_rows: number;
  rows?: number[];
  classes: string[];
  warnings: string[];
  rule: string | null;
}

/** row, state, predicted, gold, confidence, score */
export type Tile = [number, "right" | "wrong" | "none", string | null, string | null, number | null, number | null];
export type Point = [number, number, number, number];

export interface Bin {
  low: number;
  high: number;
  count: number;
  confidence: number;
  accuracy: number;
}

export interface Summary {
  count: number;
  accuracy: number | null;
  low: number;
  high: number;
  error: number;
  none: number;
  confusion: { labels: string[]; counts: number[][] } | null;
  calibration: { bins: Bin[]; error: number } | null;
  coverage: [number, number, number][] | null;
}

export interface Card {
  prompt: Prompt;
  state: "running" | "done" | "stopped";
  stopped_at: number | null;
  tiles?: Tile[];
  summary: Summary;
  curve?: Point[];
}

export interface Marginal {
  variable: string;
  wordings: { wording: number; text: string; mean: number; error: number; low: number; high: number; cards: number }[];
}

export interface RunDetail extends Run {
  cards: Card[];
  marginals: Marginal[];
}

export interface Detail {
  row: number;
  status: string;
  reason: string;
  input: string;
  choices: string[] | null;
  log_probabilities: number[] | null;
  probabilities: number[] | null;
  predicted: string | null;
  answer: string | null;
  gold: string | null;
  state: "right" | "wrong" | "none";
}

export interface PairedTest {
  first: string;
  second: string;
  rows: number;
  difference: number;
  low: number;
  high: number;
  probability: number;
  adjusted: number;
}

interface Scored {
  accuracy: number | null;
  low: number;
  high: number;
}

export interface Comparison {
  first: Run;
  second: Run;
  prompts: (Pick<PairedTest, "difference" | "low" | "high" | "probability"> & {
    prompt: Prompt;
    first: Scored;
    second: Scored;
    agree: number;
  })[];
}

export interface AppFile {
  name: string;
  path: string;
  card_path: string;
  card: string;
  app: Record<string, unknown>;
  commands: string[];
}

export interface Answer {
  answer: string | null;
  sure: boolean;
  confidence: number | null;
  probabilities: Record<string, number> | null;
  status: string;
  reason: string;
}

export interface PublishedTemplate {
  set: string;
  name: string;
  jinja: string;
  answer_choices: string | null;
  missing: string[];
  original_task: boolean | null;
}

export interface ReportFile {
  path: string;
  title: string;
  changed: number;
  bytes: number;
}
