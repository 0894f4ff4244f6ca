/** Requests to the studio's own server. The browser sends its cookie and Origin by itself. */

export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly field: string | null,
    readonly body: Record<string, unknown>,
  ) {
    super(message);
  }
}

type Query = Record<string, string | number | boolean | null | undefined | string[]>;

export function query(values: Query): string {
  const parts = new URLSearchParams();
  for (const [name, value] of Object.entries(values))
    for (const one of Array.isArray(value) ? value : [value])
      if (one !== null && one !== undefined && one !== "") parts.append(name, String(one));
  const text = parts.toString();
  return text ? `?${text}` : "";
}

async function answer(response: Response): Promise<unknown> {
  if (response.status === 204) return null;
  const json = response.headers.get("content-type")?.includes("json");
  const body: unknown = json ? await response.json() : await response.text();
  if (response.ok) return body;
  const held = (typeof body === "object" && body !== null ? body : {}) as Record<string, unknown>;
  const error = held["error"] as { message?: string; field?: string | null } | undefined;
  const message = error?.message ?? `the server answered ${response.status}`;
  throw new ApiError(response.status, message, error?.field ?? null, held);
}

/** Send JSON (or a file's bytes) and return the JSON or text of the answer. */
export async function call<Result>(
  method: "GET" | "POST" | "PATCH" | "DELETE",
  path: string,
  body?: unknown,
  signal?: AbortSignal,
): Promise<Result> {
  const options: RequestInit = { method, signal: signal ?? null };
  if (body instanceof Blob) options.body = body;
  else if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers = { "content-type": "application/json" };
  }
  let response: Response;
  try {
    response = await fetch(`/api${path}`, options);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(0, "the studio's server does not answer; is `hortus studio` still running?", null, {});
  }
  return (await answer(response)) as Result;
}

export const get = <Result>(path: string, signal?: AbortSignal) => call<Result>("GET", path, undefined, signal);
export const post = <Result>(path: string, body?: unknown, signal?: AbortSignal) =>
  call<Result>("POST", path, body, signal);

/** Whether a request was given up because a later one took its place. */
export function superseded(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}

/** Hand a text to the browser as a file. */
export function download(name: string, text: string, type: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
