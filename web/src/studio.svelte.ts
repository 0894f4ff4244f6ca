/** The page's state: one project at a time, saved as it changes, with the runs that belong to it. */
import { ApiError, call, get, post, superseded } from "./api";
import { listen, type StudioEvent } from "./events";
import { RunView } from "./runs.svelte";
import type { Draft, Model, Project, Prompt, Run, RunDetail, Session, Task, View } from "./types";

export const SCREENS = [
  ["data", "Data"],
  ["task", "Task"],
  ["variations", "Variations"],
  ["cards", "Cards"],
  ["refine", "Refine"],
  ["large", "Large run"],
  ["compare", "Compare models"],
  ["deploy", "Deploy"],
  ["projects", "Projects"],
  ["reports", "Reports"],
] as const;
export type Screen = (typeof SCREENS)[number][0];

type Section = "name" | "task" | "variations" | "cart" | "refine" | "view";
const SAVE_AFTER_MS = 400;
const VIEW: View = { screen: "data", model: "", sort: "score", least: 0, group: "", words: "" };

class Studio {
  session = $state.raw<Session | null>(null);
  models = $state.raw<Model[]>([]);
  project = $state<Project | null>(null);
  runs = $state.raw<RunView[]>([]);
  screen = $state<Screen>("projects");
  message = $state("");
  lost = $state(false);
  saved = $state(true);
  /** The example whose answers are compared over all cards. */
  pinned = $state<number | null>(null);
  whenClosed = $state<"continue" | "stop">("continue");

  #dirty = new Set<Section>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #saving: Promise<void> | null = null;
  #close: (() => void) | null = null;
  /** Runs asked for but not answered yet, and what was heard of them before the answer. */
  #starting = 0;
  #early: StudioEvent[] = [];

  get model(): Model | undefined {
    const ready = this.models.filter((model) => model.state === "ready");
    return ready.find((model) => model.id === this.project?.view.model) ?? ready[0];
  }

  /** The newest run of a slot, if there is one. */
  latest(slot: string): RunView | undefined {
    return this.runs.find((view) => view.run.slot === slot);
  }

  async start(): Promise<void> {
    this.session = await get<Session>("/session");
    this.models = this.session.models;
    const [, asked] = location.hash.split("/");
    const known = this.session.projects.map((head) => head.id);
    const first = [this.session.initial_project, asked, localStorage.getItem("hortus-project")];
    const id = first.find((one) => one && known.includes(one));
    if (id) await this.open(id);
    else if (!known.length) await this.create("First project");
  }

  async create(name: string): Promise<void> {
    this.#open(await post<Project>("/projects", { name }));
    this.go("data");
  }

  async open(id: string): Promise<void> {
    this.#open(await get<Project>(`/projects/${id}`));
    await this.loadRuns();
  }

  close(): void {
    this.#close?.();
    this.#close = null;
    this.project = null;
    this.runs = [];
    this.go("projects");
  }

  #open(project: Project): void {
    this.#close?.();
    this.runs = [];
    this.pinned = null;
    this.#dirty.clear();
    this.take(project);
    localStorage.setItem("hortus-project", project.id);
    this.#close = listen(
      project.id,
      (events) => events.forEach((event) => this.#heard(event)),
      (lost) => (this.lost = lost),
    );
    const kept = SCREENS.find(([name]) => name === this.project!.view.screen);
    this.go(kept ? kept[0] : "data");
  }

  /** Take over what the server holds, but for sections edited here since. */
  take(project: Project): void {
    const mine = this.project?.id === project.id ? this.project : null;
    const kept = Object.fromEntries([...this.#dirty].filter(() => mine).map((name) => [name, mine![name]]));
    const refine = project.refine?.history ? project.refine : { history: [], at: 0 };
    // A screen, a sort order or a model is this tab's own once the project is open.
    const view = mine?.view ?? { ...VIEW, ...project.view };
    this.project = { ...project, refine, view, ...kept };
  }

  go(screen: Screen): void {
    this.screen = screen;
    if (!this.project) return;
    history.replaceState(null, "", `#/${this.project.id}/${screen}`);
    if (this.project.view.screen === screen) return;
    this.project.view.screen = screen;
    this.changed("view");
  }

  /** Run what may fail, and say so in the page when it does. */
  async attempt<Result>(work: () => Promise<Result>): Promise<Result | undefined> {
    try {
      this.message = "";
      return await work();
    } catch (error) {
      if (superseded(error)) return undefined;
      this.message = error instanceof Error ? error.message : String(error);
      if (!(error instanceof ApiError)) console.error(error);
      return undefined;
    }
  }

  changed(...sections: Section[]): void {
    for (const section of sections) this.#dirty.add(section);
    this.saved = false;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.attempt(() => this.save()), SAVE_AFTER_MS);
  }

  /** Send what was edited; waits for a save under way. */
  async save(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#saving;
    if (!this.project || !this.#dirty.size) return;
    this.#saving = this.#send(this.project);
    try {
      await this.#saving;
    } finally {
      this.#saving = null;
    }
  }

  async #send(project: Project): Promise<void> {
    const sections = [...this.#dirty];
    const body = Object.fromEntries(sections.map((name) => [name, $state.snapshot(project[name])]));
    this.#dirty.clear();
    try {
      const path = `/projects/${project.id}`;
      const { revision } = await call<{ revision: number }>("PATCH", path, { revision: project.revision, ...body });
      if (this.project?.id === project.id) this.project.revision = Math.max(revision, this.project.revision);
      this.saved = !this.#dirty.size;
    } catch (error) {
      if (error instanceof ApiError && error.status === 409) {
        this.take(error.body["project"] as Project);
        this.saved = true;
        this.message = "Another tab changed the same thing; its version is shown.";
        return;
      }
      sections.forEach((section) => this.#dirty.add(section));
      throw error;
    }
  }

  async loadRuns(): Promise<void> {
    const project = this.project!.id;
    const { runs } = await get<{ runs: Run[] }>(`/projects/${project}/runs`);
    const views = runs.map(async (run) => {
      const detail = await get<RunDetail>(`/projects/${project}/runs/${run.id}`);
      const known = this.runs.find((view) => view.id === run.id);
      known?.take(detail);
      return known ?? new RunView(project, detail);
    });
    const loaded = await Promise.all(views);
    if (this.project?.id === project) this.runs = loaded;
  }

  /** Start a run of prompts on the working set; it takes the place of the slot's earlier one. */
  async run(
    slot: string,
    prompts: (Prompt | Draft)[],
    model = this.model?.id,
    signal?: AbortSignal,
  ): Promise<RunView | undefined> {
    await this.save();
    const body = { slot, model, prompts, when_closed: this.whenClosed };
    return await this.#start(`/projects/${this.project!.id}/runs`, body, signal);
  }

  async runLarge(body: Record<string, unknown>): Promise<RunView> {
    await this.save();
    const whole = { ...body, model: this.model?.id, when_closed: this.whenClosed };
    return await this.#start(`/projects/${this.project!.id}/large`, whole);
  }

  async #start(path: string, body: unknown, signal?: AbortSignal): Promise<RunView> {
    const project = this.project!.id;
    this.#starting++;
    try {
      const run = await post<Run>(path, body, signal);
      const view = new RunView(project, await get<RunDetail>(`/projects/${project}/runs/${run.id}`));
      const others = this.runs.filter((old) => old.id !== view.id);
      this.runs = [view, ...others.filter((old) => run.kind === "large" || old.run.slot !== run.slot)];
      return view;
    } finally {
      this.#starting--;
      this.#early.splice(0).forEach((event) => this.#heard(event));
    }
  }

  async cancel(view: RunView): Promise<void> {
    view.update(await post<Run>(`${view.path}/cancel`));
  }

  async resume(view: RunView): Promise<void> {
    view.update(await post<Run>(`${view.path}/resume`));
  }

  async remove(view: RunView): Promise<void> {
    await call("DELETE", view.path);
    this.runs = this.runs.filter((old) => old !== view);
  }

  async setWorking(body: Record<string, unknown>): Promise<void> {
    await this.save();
    this.take(await post<Project>(`/projects/${this.project!.id}/working`, body));
  }

  setTask(change: Partial<Task>): void {
    Object.assign(this.project!.task, change);
    this.changed("task");
  }

  inCart(prompt: string): boolean {
    return this.project?.cart.some((item) => item.prompt.id === prompt) ?? false;
  }

  toggleCart(prompt: Prompt): void {
    const project = this.project!;
    if (this.inCart(prompt.id)) project.cart = project.cart.filter((item) => item.prompt.id !== prompt.id);
    else project.cart.push({ prompt: $state.snapshot(prompt), note: "", added: Date.now() / 1000 });
    this.changed("cart");
  }

  #heard(event: StudioEvent): void {
    const id = "run" in event.data ? event.data.run : event.kind === "run" ? event.data.id : null;
    const run = this.runs.find((view) => view.id === id);
    if (id && !run) {
      if (this.#starting) this.#early.push(event);
      else if (event.kind === "run") void this.attempt(() => this.loadRuns());
      return;
    }
    switch (event.kind) {
      case "project":
        if (event.data.revision > (this.project?.revision ?? 0)) void this.attempt(() => this.#refresh());
        break;
      case "run":
        this.#heardRun(run!, event.data);
        break;
      case "tiles":
        for (const [prompt, tiles] of Object.entries(event.data.cards)) run?.card(prompt)?.add(tiles);
        break;
      case "summaries":
        for (const [prompt, summary] of Object.entries(event.data.summaries)) {
          const card = run?.card(prompt);
          if (card) card.summary = summary;
        }
        break;
      case "curve":
        for (const [prompt, point] of Object.entries(event.data.points)) run?.card(prompt)?.addPoint(point);
        break;
      case "stopped": {
        const card = run?.card(event.data.prompt);
        if (card) {
          card.state = "stopped";
          card.stoppedAt = event.data.at;
        }
        break;
      }
      case "reset":
        void this.attempt(async () => {
          await this.#refresh();
          await this.loadRuns();
        });
    }
  }

  #heardRun(view: RunView, run: Run): void {
    const was = view.live;
    view.update(run);
    if (was && !view.live) void this.attempt(() => view.reload());
  }

  async #refresh(): Promise<void> {
    await this.#saving;
    if (!this.project) return;
    const project = await get<Project>(`/projects/${this.project.id}`);
    if (project.revision > this.project.revision) this.take(project);
  }
}

export const studio = new Studio();
