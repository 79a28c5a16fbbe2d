// Wrong uses, each of which the compiler must refuse.

import {
  Batch, Job, Key, KeyRange, Persistency, PersistencyError, decodeKey, key, text, u8, version,
} from "persistency";
import type { ErrorKind, Position, Range, Watch } from "persistency";

declare const p: Persistency;
declare const job: Job;
declare const k: Uint8Array;

// Ranges that say two things at once, or nothing that is known.
// @ts-expect-error prefix with a lower bound
job.scan("c", { prefix: k, gte: k });
// @ts-expect-error prefix with an upper bound
job.scan("c", { prefix: k, lt: k, limit: 1 });
// @ts-expect-error gt with gte
job.scan("c", { gt: k, gte: k });
// @ts-expect-error lt with lte
job.rows("c", { lt: k, lte: k });
// @ts-expect-error prefix with the start of a KeyRange
job.count("c", { prefix: k, start: k });
// @ts-expect-error the start of a KeyRange with a bound
job.count("c", { start: k, lt: k });
// @ts-expect-error an end without a start
job.count("c", { end: k });
// @ts-expect-error a misspelt range
job.watch("c", { prefx: k });
// @ts-expect-error a misspelt range of a batch
new Batch().deleteRange("c", { prefx: k });
// @ts-expect-error a batch deletes a range that is said, or clears
new Batch().deleteRange("c");
// @ts-expect-error a range is no scan
new Batch().deleteRange("c", { prefix: k, limit: 1 });
// @ts-expect-error a count has no order
job.count("c", { prefix: k, reverse: true });
// @ts-expect-error a prefix is bytes
job.scan("c", { prefix: "channel-1" });
// @ts-expect-error the prefix stands apart from the options
job.scanPrefix("c", { prefix: k });
// @ts-expect-error a range that says both cannot be built either
const range: Range = { prefix: k, gt: k };

// Keys and payloads.
// @ts-expect-error a key is bytes, made by key()
job.get("c", "k");
// @ts-expect-error a payload is bytes or a string
job.persistPut("c", k, { text: "hi" });
// @ts-expect-error numbers are no payloads
job.putAcked("c", k, 7);
// @ts-expect-error a category comes first
job.get(k);
// @ts-expect-error null is no part
key(null);
// @ts-expect-error an object is no part
key({ name: "ada" });
// @ts-expect-error a part is made by u64(), u8() or text()
key({ bytes: k });
// @ts-expect-error undefined is no part, also within an array
key(["a", undefined]);
// @ts-expect-error u8() takes a number
u8(1n);
// @ts-expect-error text() takes a string
text(7);
// @ts-expect-error a text is no whole key
job.get("c", text("a"));
// @ts-expect-error there is no such type of part
decodeKey(k, "i32");
// @ts-expect-error nor within an array
decodeKey(k, "string", ["float"]);
// @ts-expect-error integers are bigints
const wide: [number] = decodeKey(k, "i64");
// @ts-expect-error as many values as types
const [one, two] = decodeKey(k, "u8");

// Options.
// @ts-expect-error there is no such durability
p.openJob("a", { durability: "eventual" });
// @ts-expect-error a log is kept by bytes
p.openJob("a", { log: 1024 });
// @ts-expect-error there is no such option
p.openJob("a", { deadline: 1000 });
// @ts-expect-error there is no such worker
Persistency.open("r", { worker: "shared" });
// @ts-expect-error a signal, not its controller
job.get("c", k, { signal: new AbortController() });
// @ts-expect-error a write is not given up
job.persistPut("c", k, "s", { signal: new AbortController().signal });
// @ts-expect-error a seq is a bigint
job.watchCommittedSeq().atLeast(1);
// @ts-expect-error a seq is a bigint
job.advanceLog("n", 1);
// @ts-expect-error a position has a generation
job.logFrom({ seq: 1n });
// @ts-expect-error an operation is no batch
job.persist([{ type: "put", category: "c", key: k, payload: k }]);

// Results.
// @ts-expect-error a row may be absent
job.get("c", k).then((payload) => payload.length);
// @ts-expect-error a count is a bigint
job.count("c").then((count): number => count);
// @ts-expect-error a watch from now has no position before it has started
export const position = (watch: Watch): Position => watch.position();
// @ts-expect-error a commit has operations, a gap has none
export const operations = async (watch: Watch) => { for await (const item of watch) item.operations; };
// @ts-expect-error there is no such kind
export const kind: ErrorKind = "NotFound";
// @ts-expect-error an error is not changed
export const edit = (error: PersistencyError) => { error.kind = "Closed"; };
// @ts-expect-error a row is not changed in place
job.scan("c").then(([row]) => { row.payload = k; });
// @ts-expect-error the version is the package's
version = "1";

// What is not made by hand, and what has no such name.
// @ts-expect-error a root is opened
new Persistency("r");
// @ts-expect-error a range is made by prefixRange()
new KeyRange();
// @ts-expect-error errors come from the package
new PersistencyError("no");
// @ts-expect-error a job is opened
new Job();
// @ts-expect-error the root's form takes the job's id first
p.flush();
// @ts-expect-error a root has no id of a job
p.isOpen("alpha");
// @ts-expect-error a job is dropped by its root
job.drop();
void [Key, range, wide, one, two];
