// The layer `archive` where something ends before it is through: restores that go on, archives that are closed or
// stopped while the server fails, what nobody holds any more; and what goes by itself.

import { equal, failure, isError, next, ok, pause, rejects, show } from "../checks.js";

/** Ships what somebody waits for, and nothing else. */
const ON_DEMAND = { cut: { ageMs: 1e9, early: false } };
/** Rows that a restore writes one by one. */
const ROWS = 6n;
const ROW_BYTES = 2_500_000;
/** Objects of layers that a job may have. */
const OBJECTS_MAX = 1024;
const AT_ONCE = 64;
const FEW = 8;

/** A job on a server, a segment for each row; answers the reader, before it has read anything. */
async function sixRows(t) {
  const name = t.freshName();
  const { root, job } = await t.job();
  const cut = { ...ON_DEMAND.cut, commits: 1 };
  const archive = await t.Archive.attach(job, t.archives, { name, cut });
  await archive.ship();
  for (let n = 1n; n <= ROWS; n += 1n) await job.putAcked("m", t.key(n), new Uint8Array(ROW_BYTES).fill(Number(n)));
  await archive.close();
  const reader = await t.ArchiveReader.open(root, t.archives, name);
  await reader.archivedSeq();
  return { root, reader };
}

/** Restores, and answers how many requests that took and what was told first. */
async function requests(t, reader, id) {
  const told = [];
  const before = await t.server("up");
  await reader.restore(id, { onProgress: (progress) => told.push(progress.seq) });
  return { count: await t.server("up") - before, first: told[0] };
}

async function isWhole(t, root, id) {
  const job = await root.openJob(id);
  for (let n = 1n; n <= ROWS; n += 1n) {
    const row = await job.get("m", t.key(n));
    equal([row.length, row[0], row.at(-1)], [ROW_BYTES, Number(n), Number(n)]);
  }
  equal(await job.count("m"), ROWS);
}

const until = async (archive, is) => {
  for await (const progress of archive.watch()) if (is(progress)) return progress;
  throw new Error(`the archive has ended: ${show(archive.progress)}`);
};

export const archiveCutShortTests = {
  "archive: a restore that its server cuts short goes on where it stopped": async (t) => {
    const { root, reader } = await sixRows(t);
    const whole = await requests(t, reader, "whole");
    try {
      // All but the last one.
      await t.server("down-after", whole.count - 1);
      await rejects(reader.restore("restored"), "Overloaded");
      ok(!root.hasJob("restored"));
      equal(await root.listJobs(), ["alpha", "whole"]);
      const rest = await requests(t, reader, "restored");
      ok(rest.count < whole.count && rest.first > whole.first, show({ whole, rest }));
    } finally {
      await t.server("up");
    }
    await isWhole(t, root, "restored");
  },
  "archive: a restore that is aborted, or whose worker dies, goes on where it stopped": async (t) => {
    const { root, reader } = await sixRows(t);
    const whole = await requests(t, reader, "whole");
    for (const kind of ["aborted", "died"]) {
      if (kind === "died" && t.options.worker !== "required") continue;
      const stop = new AbortController();
      try {
        await t.server("silent-after", whole.count - 1);
        const restoring = failure(reader.restore(kind, { signal: stop.signal }));
        await t.server("silence");
        if (kind === "died") root.terminate();
        else stop.abort("enough");
        const error = await restoring;
        if (kind === "aborted") equal(error, "enough");
        else isError(error, "Backend", "Unknown");
        const rest = await requests(t, reader, kind);
        ok(rest.count < whole.count && rest.first > whole.first, show({ kind, whole, rest }));
      } finally {
        await t.server("up");
      }
      await isWhole(t, root, kind);
    }
  },
  "archive: one that is closed says what is missing, and one that is stopped waits for nobody": async (t) => {
    const { job } = await t.job();
    const options = { ...ON_DEMAND, name: t.freshName(), maxAttempts: 2, backoffMs: 1, backoffMaxMs: 2 };
    const attach = () => t.Archive.attach(job, t.archives, options);
    const closing = await attach();
    await closing.ship();
    try {
      await job.putAcked("m", t.key(1n), "1");
      await t.server("down");
      const error = await rejects(closing.close(), "Overloaded");
      ok(/archived is seq 0, 1 less than waited for/.test(error.message), error.message);
      equal([closing.progress.state, await closing.close()], ["ended", 0n]);
      await t.server("up");
      const archive = await attach();
      await archive.ship();
      await job.putAcked("m", t.key(2n), "2");
      await t.server("silent-after");
      const shipping = failure(archive.ship());
      await t.server("silence");
      await Promise.all([archive.stop(), archive.stop()]);
      isError(await shipping, "Closed");
      equal([archive.progress.state, archive.archivedSeq], ["ended", 1n]);
      await archive.stop();
    } finally {
      await t.server("up");
    }
    // What was left goes with the next.
    equal(await (await attach()).close(), 2n);
  },
  "archive: advances are told, and a callback that takes long or throws stalls nobody": async (t) => {
    const { job } = await t.job();
    const archive = await t.Archive.attach(job, t.archives, { ...ON_DEMAND, name: t.freshName() });
    await archive.ship();
    const [slow, quick, uncaught] = [[], [], []];
    let goOn;
    const held = new Promise((resolve) => { goOn = resolve; });
    archive.onArchived((seq) => { slow.push(seq); return held; });
    archive.onArchived((seq) => { quick.push(seq); throw new Error(`at ${seq}`); });
    const listen = (event) => { event.preventDefault(); uncaught.push(event.error?.message); };
    globalThis.addEventListener("error", listen);
    try {
      for (let n = 1n; n <= 4n; n += 1n) {
        const seq = await job.putAcked("m", t.key(n), "");
        equal(await archive.waitArchived(seq), seq);
        while (quick.at(-1) !== seq || slow.length === 0) await pause(1);
      }
      equal([slow, quick, uncaught], [[1n], [1n, 2n, 3n, 4n], ["at 1", "at 2", "at 3", "at 4"]]);
      goOn();
      while (slow.length < 2) await pause(1);
      equal(slow, [1n, 4n]);
    } finally {
      globalThis.removeEventListener("error", listen);
    }
    await archive.close();
    await rejects((async () => archive.onArchived(() => {}))(), "Closed");
  },
  "archive: what is older than is kept goes by itself, unless the server lets nothing be removed": async (t) => {
    const { root, job } = await t.job();
    const name = t.freshName();
    const archive = await t.Archive.attach(job, t.archives, { ...ON_DEMAND, name, keepMs: 0, baseAfterBytes: 1 });
    await archive.ship();
    const reader = await t.ArchiveReader.open(root, t.archives, name);
    const grow = async () => {
      await job.putAcked("m", t.key(await job.count("m")), "");
      await archive.ship();
    };
    try {
      await t.server("locked");
      while (!archive.progress.pruningError) await grow();
      isError(archive.progress.pruningError, "Overloaded");
      equal(archive.progress.state, "shipping");
      await t.server("up");
      while (archive.progress.pruningError) await grow();
      const first = async () => (await reader.verify().catch(() => ({ restorable: [{ first: 0n }] }))).restorable[0].first;
      // While something is removed it may change between two looks.
      while (await first() === 0n) await grow();
    } finally {
      await t.server("up");
    }
    const last = await archive.close();
    await reader.restore("restored");
    equal(await (await root.openJob("restored")).count("m"), last);
    await rejects(reader.restore("earlier", { to: { seq: 0n } }), "InvalidArgument");
  },
  "archive: what was begun and left holds nothing": async (t) => {
    const { root, job } = await t.job();
    const name = t.freshName();
    const archive = await t.Archive.attach(job, t.archives, { ...ON_DEMAND, name });
    await job.putAcked("m", t.key(1n), "");
    await archive.ship();
    const reader = await t.ArchiveReader.open(root, t.archives, name);
    for (let left = OBJECTS_MAX; left >= 0; left -= AT_ONCE) {
      await Promise.all(Array.from({ length: AT_ONCE }, async () => {
        const watch = archive.watch();
        await next(watch);
        await watch.return();
      }));
    }
    for (let left = FEW; left > 0; left -= 1) {
      for await (const segment of reader.listSegments()) if (segment.firstSeq === 1n) break;
      const parts = t.exportJob(job);
      await next(parts);
      await parts.return();
    }
    while ((await job.info()).logHolders.length > 1) await pause(1);
    equal(await archive.close(), 1n);
  },
};
