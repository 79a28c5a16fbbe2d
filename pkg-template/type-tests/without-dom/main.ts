// A project without the library `dom` or other types, whose `lib` is older than `Symbol.asyncDispose`.

import { Persistency, key } from "persistency";
import type { Job } from "persistency";

/** What is needed of a signal; a controller of another environment has one. */
class Giver {
  readonly aborted = false;
  readonly reason = undefined;
  throwIfAborted(): void {}
  addEventListener(): void {}
  removeEventListener(): void {}
}

export async function use(): Promise<void> {
  await using p = await Persistency.open(":memory:", { workerUrl: { href: "w.js" }, wasmModule: {} });
  const job: Job = await p.openJob("a");
  await job.get("c", key("k"), { signal: new Giver() });
  for await (const row of job.rows("c", { prefix: key("k") })) void row.payload.length;
  await job[Symbol.asyncDispose]();
  // @ts-expect-error what is no signal
  await job.get("c", key("k"), { signal: {} });
}
