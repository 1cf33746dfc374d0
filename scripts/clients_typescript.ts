// Asks a real server with the types that `openapi-typescript` has made: see scripts/clients. That it compiles is the half of
// it: every path, parameter, body and answer here is checked against the description.
import type { components, paths } from "./api";

declare const process: { argv: string[] };
const [address, token] = process.argv.slice(2);

type Answer<Path extends keyof paths, Method extends string, Status extends number = 200> =
  paths[Path] extends Record<Method, { responses: Record<Status, { content: { "application/json": infer Body } }> }>
    ? Body
    : never;
type Job = components["schemas"]["JobDocument"];
type Failure = components["schemas"]["Error"];

async function ask<T>(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<{ answer: T | Failure; etag: string }> {
  const response = await fetch(`${address}${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json", ...headers },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  return { answer: (await response.json()) as T | Failure, etag: response.headers.get("etag") ?? "" };
}

function check(holds: boolean, what: string): asserts holds {
  if (!holds) {
    throw new Error(what);
  }
}

function good<T extends { success: true }>(answer: T | Failure): T {
  check(answer.success === true, JSON.stringify(answer));
  return answer as T;
}

const version = good((await ask<Answer<"/api/v1/version", "get">>("GET", "/api/v1/version")).answer);
check(version.data.name === "gristmill", "the version");

const request: components["schemas"]["JobRequest"] = {
  kind: "email",
  payload: { to: "you@example.com", subject: "é", text: "t" },
  in: "1h",
  priority: "low",
};
const made = good((await ask<Answer<"/api/v1/jobs", "post", 201>>("POST", "/api/v1/jobs", request)).answer);
check("job" in made.data, "a job was made");
const path = `/api/v1/jobs/${made.data.job.id}`;

const shown = await ask<Answer<"/api/v1/jobs/{job}", "get">>("GET", path);
const job: Job = good(shown.answer).data;
check(job.state === "scheduled" && job.priority === "low" && job.run_at !== null, "it waits for its time");
const wait = job.waits?.[0];
check(wait !== undefined && wait.why === "time" && wait.at.length > 0, "and says so");

const edit: components["schemas"]["JobEdit"] = { priority: "high", at: "2040-01-31T08:00:00Z" };
const edited = await ask<Answer<"/api/v1/jobs/{job}", "patch">>("PATCH", path, edit, { "if-match": shown.etag });
check(good(edited.answer).data.affected === 1, "it is changed");
const stale = await ask<Answer<"/api/v1/jobs/{job}", "patch">>("PATCH", path, edit, { "if-match": shown.etag });
check(stale.answer.success === false && stale.answer.error.code === "stale", "and not on what it is no more");

type Query = NonNullable<paths["/api/v1/jobs"]["get"]["parameters"]["query"]>;
const query: Query = { state: ["scheduled"], kind: "email", limit: 2 };
const text = new URLSearchParams({ state: query.state?.join() ?? "", kind: query.kind ?? "", limit: String(query.limit) });
const page = good((await ask<Answer<"/api/v1/jobs", "get">>("GET", `/api/v1/jobs?${text}`)).answer);
check(page.data.some((one) => one.id === job.id), "it is listed");

const batches = good((await ask<Answer<"/api/v1/batches", "get">>("GET", "/api/v1/batches?limit=1")).answer);
const batch = batches.data[0];
check(batch !== undefined && batch.counts.input === 2000, "the batch of the demo");
const whole = good((await ask<Answer<"/api/v1/batches/{batch}", "get">>("GET", `/api/v1/batches/${batch.id}`)).answer);
check(whole.data.batch.name === "orders", "by its id");
console.error("clients: TypeScript: what was asked was answered as the description says");
