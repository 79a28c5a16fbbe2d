// The layer `archive` on the page: shipped to a real server, read back, restored; who ships where several could; whole
// jobs as bytes. `t.archives` is the server, which wants a token.

import { bytes, equal, failure, isError, ok, rejects, show, string, throws } from "../checks.js";

/** Ships what somebody waits for, and nothing else. */
const ON_DEMAND = { cut: { ageMs: 1e9, early: false } };

let names = 0;
const freshName = () => `archive-${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 8)}-${names += 1}`;

/** SHA-256 over all rows, as examples/archive_server/digest.rs has it. */
export async function digest(job) {
  const parts = [];
  const add = (part) => {
    const length = new Uint8Array(4);
    new DataView(length.buffer).setUint32(0, part.length);
    parts.push(length, part);
  };
  for (const category of await job.categories()) {
    for await (const { key, payload } of job.rows(category)) [bytes(category), key, payload].forEach(add);
  }
  const hash = await crypto.subtle.digest("SHA-256", await new Blob(parts).arrayBuffer());
  return Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Gives a job rows of every kind: small and large, deleted and overwritten, with and without a key. */
export async function fill(t, job) {
  const large = Uint8Array.from({ length: 200_000 }, (_, at) => (at * 31) % 251);
  await job.persist(new t.Batch().put("m", t.key("a", 1n), "1").put("m", t.key("b"), "2").put("", new Uint8Array(), ""));
  await job.persist(new t.Batch().delete("m", t.key("b")).put("m", t.key("a", 1n), large));
  for (let n = 0n; n < 300n; n += 1n) await job.persistPut("\u00e9", t.key(n), `row ${n}`);
  await job.persistDeletePrefix("\u00e9", t.key(7n));
  await job.flush();
}

const archived = async (t, name, id = "alpha") => {
  const { root, job } = await t.job(undefined, id);
  const archive = await t.Archive.attach(job, t.archives, { ...ON_DEMAND, name });
  return { root, job, archive };
};

const until = async (archive, is) => {
  for await (const progress of archive.watch()) if (is(progress)) return progress;
  throw new Error(`the archive has ended: ${show(archive.progress)}`);
};

export const archiveTests = {
  "archive: what is shipped to a server can be listed, read, checked, and restored as it was at any seq": async (t) => {
    const name = freshName();
    const { root, job, archive } = await archived(t, name);
    const first = await job.putAcked("m", t.key(1n), "one");
    equal(await archive.waitArchived(first), first);
    const early = await digest(job);
    await fill(t, job);
    const last = await archive.ship();
    const { seq, generation } = await job.position();
    equal([last, archive.archivedSeq, archive.progress.state], [seq, seq, "shipping"]);
    equal(await archive.close(), seq);
    equal([archive.progress.state, archive.archivedSeq, await archive.close()], ["ended", seq, seq]);
    await rejects(archive.ship(), "Closed");

    const reader = await t.ArchiveReader.open(root, t.archives, name);
    equal([await reader.archivedSeq(), reader.generation], [seq, generation]);
    const segments = [];
    for await (const segment of reader.listSegments()) segments.push(segment);
    equal(segments.map(({ firstSeq, lastSeq }) => [firstSeq, lastSeq]), [[2n, seq], [1n, 1n]]);
    equal(await reader.findSegment(5n), segments[0]);
    equal(await reader.findSegment(seq + 1n), undefined);
    const [commit, ...more] = await reader.fetch(segments[1]);
    equal([more.length, commit.seq, commit.operations], [0, 1n,
      [{ type: "put", category: "m", key: t.key(1n), payload: bytes("one") }]]);
    const verified = await reader.verify();
    equal([verified.segments, verified.commits, verified.restorable], [2, Number(seq), [{ first: 0n, last: seq }]]);

    const told = [];
    const restored = await reader.restore("latest", { onProgress: (progress) => told.push(progress) });
    equal(restored, { generation, seq });
    ok(told.every((progress) => progress.seq <= seq), show(told));
    equal(await digest(await root.openJob("latest")), await digest(job));
    equal(await reader.restore("early", { to: { seq: first } }), { generation, seq: first });
    equal(await digest(await root.openJob("early")), early);
    await rejects(reader.restore("early"), "Conflict");
    await rejects(reader.restore("never", { to: { seq: seq + 1n } }), "InvalidArgument");
    ok(!(await root.listJobs()).includes("never"));
    await rejects(t.ArchiveReader.open(root, t.archives, freshName()), "JobNotFound");
    const again = await t.ArchiveReader.open(root, t.archives, name, { generation });
    equal(await again.archivedSeq(), seq);
    await root.close();
    await rejects(reader.archivedSeq(), "Closed");
  },
  "archive: of two that have a job open one ships, the other follows, and ships when the first goes": async (t) => {
    const [name, rootName] = [freshName(), t.freshName()];
    const roots = [await t.open(rootName), await t.open(rootName)];
    const jobs = await Promise.all(roots.map((root) => root.openJob("alpha")));
    const first = await t.Archive.attach(jobs[0], t.archives, { ...ON_DEMAND, name });
    await until(first, ({ state }) => state === "shipping");
    const second = await t.Archive.attach(jobs[1], t.archives, { ...ON_DEMAND, name });
    equal(second.progress.state, "following");
    const seq = await jobs[1].putAcked("m", t.key(1n), "by the second");
    ok(await second.ship() >= seq);
    equal(second.progress.state, "following");
    ok(first.archivedSeq >= seq);
    await jobs[0].putAcked("m", t.key(2n), "by the first");
    // As a tab that is closed: nothing says good-bye.
    if (t.options.worker === "required") roots[0].terminate();
    else await first.stop();
    await first.stop();
    await until(second, ({ state }) => state === "shipping");
    const last = await jobs[1].putAcked("m", t.key(3n), "by the second");
    equal(await second.close(), last);
    const reader = await t.ArchiveReader.open(roots[1], t.archives, name);
    await reader.restore("restored");
    equal(await digest(await roots[1].openJob("restored")), await digest(jobs[1]));
  },
  "archive: jobs of one root share the bound on what is under way, and wait for one another": async (t) => {
    const root = await t.open();
    const shipped = await Promise.all(Array.from({ length: 5 }, async (_, number) => {
      const job = await root.openJob(`job-${number}`);
      // As much as there may be of all of them.
      const options = { name: freshName(), cut: { ...ON_DEMAND.cut, bytes: 64 * 1024 * 1024 } };
      return { job, archive: await t.Archive.attach(job, t.archives, options) };
    }));
    await Promise.all(shipped.map(({ archive }) => archive.ship()));
    await t.server("slow");
    await Promise.all(shipped.map(async ({ job, archive }) => {
      for (let n = 0n; n < 3n; n += 1n) equal(await job.putAcked("m", t.key(n), "a"), await archive.ship());
    }));
    equal(await t.server("most"), 1);
    for (const { archive } of shipped) await archive.close();
  },
  "archive: how often a job is tried is its own matter": async (t) => {
    const root = await t.open();
    const attach = async (id, options) => {
      const job = await root.openJob(id);
      const archive = await t.Archive.attach(job, t.archives, { ...ON_DEMAND, name: freshName(), ...options });
      await archive.ship();
      await job.putAcked("m", t.key(1n), "a");
      return archive;
    };
    const hasty = await attach("hasty", { maxAttempts: 1 });
    const patient = await attach("patient", { maxAttempts: 1_000, backoffMs: 1, backoffMaxMs: 5 });
    await t.server("down");
    const [first, second] = [hasty.ship(), patient.ship()];
    await rejects(first, "Overloaded");
    equal(hasty.progress.state, "stalled");
    await until(patient, ({ failures }) => failures > 3);
    await t.server("up");
    equal(await second, 1n);
    await hasty.resume();
    equal(await hasty.ship(), 1n);
    for (const archive of [hasty, patient]) await archive.close();
  },
  "archive: a moment of an earlier life of a job is restored, until it is pruned": async (t) => {
    const name = freshName();
    const root = await t.open();
    const times = [];
    for (let life = 0; life < 2; life += 1) {
      const job = await root.openJob("alpha");
      const archive = await t.Archive.attach(job, t.archives, { ...ON_DEMAND, name });
      await job.putAcked("m", t.key(BigInt(life)), `life ${life}`);
      await archive.close();
      const { value: segment } = await (await t.ArchiveReader.open(root, t.archives, name)).listSegments().next();
      times.push(segment.lastMs);
      await root.dropJob("alpha");
      while (Date.now() <= segment.lastMs) await new Promise((done) => setTimeout(done, 1));
    }
    const earlier = await t.ArchiveReader.open(root, t.archives, name, { timeMs: times[0] });
    await earlier.restore("restored", { to: { timeMs: times[0] } });
    equal(string(await (await root.openJob("restored")).get("m", t.key(0n))), "life 0");
    await (await t.ArchiveReader.open(root, t.archives, name)).prune({ timeMs: times[1] });
    await rejects(t.ArchiveReader.open(root, t.archives, name, { timeMs: times[0] }), "JobNotFound");
    const last = await t.ArchiveReader.open(root, t.archives, name);
    equal((await last.verify()).segments, 1);
  },
  "archive: shipping goes on when the worker has died": async (t) => {
    if (t.options.worker !== "required") return;
    const { root, job, archive } = await archived(t, freshName());
    await job.putAcked("m", t.key(1n), "1");
    await archive.ship();
    root.terminate();
    const seq = await job.putAcked("m", t.key(2n), "2");
    equal(await archive.waitArchived(seq), seq);
    await archive.close();
  },
  "archive: a server that refuses, or that there is not, is said to be so": async (t) => {
    const { root, job } = await t.job();
    const { url } = t.archives;
    const attach = (server, options) => t.Archive.attach(job, server, options);
    const retries = async (server, message) => {
      const archive = await attach(server, { name: freshName() });
      const { error } = await until(archive, ({ state }) => state === "retrying");
      equal(error.kind, "Backend");
      ok(message.test(error.message), error.message);
      await archive.stop();
    };
    await retries({ url, headers: { authorization: "Bearer other" } }, /refuses the caller.*401/);
    const elsewhere = await rejects(attach({ url: new URL("/nowhere", location.href) }), "Unsupported");
    ok(/no server of archives/.test(elsewhere.message), elsewhere.message);
    await retries({ url: "http://127.0.0.1:9" }, /cannot be reached/);
    for (const server of [undefined, {}, { url: "ftp://a/" }, { url: "http://a/?b" }, { url: "http://u:p@a/" },
      { url, headers: { "a b": "" } }, { url, credentials: "all" }, { url, timeoutMs: 0 }, { url, other: 1 }]) {
      await rejects(attach(server), "InvalidArgument", "NotApplied", show(server));
    }
    for (const options of [null, { name: "" }, { name: 7 }, { cut: { ageMs: -1 } }, { cut: { commits: 0 } },
      { cut: { early: true } }, { maxAttempts: 0 }, { baseAfterBytes: 1.5 }, { other: 1 }]) {
      await rejects(attach(t.archives, options), "InvalidArgument", "NotApplied", show(options));
    }
    await rejects(t.ArchiveReader.open(job, t.archives, "alpha"), "InvalidArgument");
    await rejects(t.ArchiveReader.open(root, t.archives, ""), "InvalidArgument");
    await rejects(t.ArchiveReader.open(root, t.archives, "alpha", { generation: bytes("short") }), "InvalidArgument");
  },
  "archive: an archive that loses its server tries again, stalls where that is in vain, and can be resumed": async (t) => {
    const { job } = await t.job();
    const name = freshName();
    const options = { ...ON_DEMAND, name, maxAttempts: 2, backoffMs: 1, backoffMaxMs: 2 };
    const archive = await t.Archive.attach(job, t.archives, options);
    await archive.ship();
    await t.server("down");
    try {
      const seq = await job.putAcked("m", t.key(1n), "1");
      isError(await failure(archive.waitArchived(seq)), "Overloaded");
      const { state, error } = await until(archive, (progress) => progress.state === "stalled");
      equal([state, error.kind], ["stalled", "Overloaded"]);
      await t.server("up");
      await archive.resume();
      equal(await archive.waitArchived(seq), seq);
    } finally {
      await t.server("up");
    }
    await archive.detach();
    equal((await job.info()).logHolders, []);
  },
  "archive: an archive ends with its job, and says so": async (t) => {
    const { root, job, archive } = await archived(t, freshName());
    await archive.ship();
    const progress = [];
    const watching = (async () => {
      for await (const each of archive.watch()) progress.push(each);
    })().catch((error) => isError(error, "Closed"));
    await root.closeJob("alpha");
    await watching;
    await rejects(archive.ship(), "Closed");
    await archive.stop();
    equal(archive.progress.state, "ended");
    equal(job.isOpen(), false);
  },
  "archive: a job goes out as bytes and comes in again, whole or not at all": async (t) => {
    const { root, job } = await t.job();
    await fill(t, job);
    const { seq, generation } = await job.position();
    const parts = [];
    for await (const part of t.exportJob(job)) parts.push(part);
    ok(parts.length > 0 && parts.every((part) => part instanceof Uint8Array));
    const blob = new Blob(parts);
    const whole = new Uint8Array(await blob.arrayBuffer());
    const sources = { blob, whole, parts, stream: blob.stream(), buffer: whole.buffer };
    for (const [id, source] of Object.entries(sources)) {
      const imported = await t.importJob(root, id, source);
      ok(imported.seq >= seq);
      equal(imported.generation, generation);
      equal(await digest(await root.openJob(id)), await digest(job), id);
      await root.dropJob(id);
    }
    const damaged = whole.slice();
    damaged[damaged.length >> 1] ^= 1;
    for (const bad of [damaged, whole.subarray(1), whole.subarray(0, whole.length - 1), new Uint8Array()]) {
      await rejects(t.importJob(root, "bad", bad), "Corrupt", "NotApplied", `${bad.length} bytes`);
    }
    for (const bad of [undefined, 7, {}, ["text"]]) {
      await rejects(t.importJob(root, "bad", bad), "InvalidArgument", "NotApplied", show(bad));
    }
    await rejects(t.importJob(root, "alpha", whole), "Conflict");
    ok(!(await root.listJobs()).includes("bad"));
    equal((await job.info()).logHolders, []);
    throws(() => t.exportJob(root), "InvalidArgument");
  },
};

/** Calls from outside, for what a native program has the other half of. */
export const crossing = {
  /** Makes a job, ships it under this name, and answers its digest. */
  async ship(t, name) {
    const { job, archive } = await archived(t, name);
    await job.putAcked("before", t.key(0n), "shipped first");
    await archive.ship();
    await fill(t, job);
    await archive.close();
    return digest(job);
  },
  /** Restores what was shipped under this name, and answers its digest. */
  async restore(t, name) {
    const root = await t.open();
    await (await t.ArchiveReader.open(root, t.archives, name)).restore("restored");
    return digest(await root.openJob("restored"));
  },
};
