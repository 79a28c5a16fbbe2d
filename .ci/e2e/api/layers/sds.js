// The layer `sds` on the page: what it keeps, over closing and over the worker's death.

import { bytes, equal, failure, isError, rejects, show, throws } from "../checks.js";

const entry = (id) => ({ messageId: id, retrievalHint: bytes(`where ${id} is`), senderId: "ada" });
const message = (id, lamportTimestamp) => ({
  messageId: id, lamportTimestamp, causalHistory: [entry("c1"), entry("__proto__")], channelId: "general",
  content: Uint8Array.of(0, 255), bloomFilter: new Uint8Array(), senderId: "\u00e9", repairRequest: [entry("c2")],
});

/** Something of everything. */
const STATE = {
  history: [message("m1", 2n ** 63n - 1n), message("m2", 1n)],
  outgoing: { message: message("o1", 7n), sendTimeMs: 1_800_000_000_123, resendAttempts: 2 ** 32 - 1 },
  incoming: { message: message("i1", 7n), missingDeps: new Set(["a", "b"]) },
  toRequest: { historyEntry: entry("__proto__"), minTimeRequestMs: 2 ** 53 - 1 },
  toAnswer: { historyEntry: entry("r2"), cachedMessage: bytes("cached"), minTimeResponseMs: 0 },
};

/** The same with lists in the place of maps and sets. */
function plain(value) {
  if (value instanceof Map || value instanceof Set) return { [value.constructor.name]: plain([...value]) };
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value instanceof Uint8Array) return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, plain(each)]));
}

export const sdsTests = {
  "sds: what is saved is there for who opens the job again, and gone when the channel is dropped": async (t) => {
    const { root, job } = await t.job();
    const store = await t.JobPersistence.open(job);
    equal((await store.loadAllForChannel("general")).lamport, 0n);
    const lamport = 2n ** 63n - 1n;
    await store.saveLamport("general", lamport);
    await store.setRetrievalHint("general", "m1", bytes("hint"));
    await store.setRetrievalHint("general", "m2", new Uint8Array());
    await root.closeJob("alpha");
    await rejects(store.saveLamport("general", 1n), "Closed");

    const again = await t.JobPersistence.open(await root.openJob("alpha"));
    const loaded = await again.loadAllForChannel("general");
    equal([loaded.lamport, [...loaded.retrievalHints]], [lamport, [["m1", bytes("hint")], ["m2", new Uint8Array()]]]);
    equal(loaded.retrievalHints.get("m1").buffer.byteLength, 4);
    await again.dropChannel("general");
    equal((await again.loadAllForChannel("general")).lamport, 0n);
  },
  "sds: everything of a channel comes back as it was given, by single changes and by whole operations": async (t) => {
    const { job } = await t.job();
    const store = await t.JobPersistence.open(job);
    const { outgoing, incoming, toRequest, toAnswer, history } = STATE;
    await store.saveLamport("one", -(2n ** 63n));
    for (const each of history) await store.appendLogEntry("one", each);
    await store.saveOutgoing("one", outgoing);
    await store.saveIncoming("one", incoming);
    await store.saveOutgoingRepair("one", "__proto__", toRequest);
    await store.saveIncomingRepair("one", "r2", toAnswer);
    const whole = store.resolving("durable");
    const meta = { lamport: -(2n ** 63n), outgoingBuffer: [outgoing],
      incomingBuffer: new Map([[incoming.message.messageId, incoming]]),
      outgoingRepair: new Map([["__proto__", toRequest]]), incomingRepair: new Map([["r2", toAnswer]]) };
    await whole.saveChannel("two", meta, { append: history });
    for (const channel of ["one", "two"]) {
      const { retrievalHints, messageHistory, ...rest } = await store.loadAllForChannel(channel);
      equal(plain([rest, messageHistory, retrievalHints]), plain([meta, history, new Map()]), channel);
      const byTime = [history[1], history[0]];
      equal(plain(await store.loadChannel(channel)), plain({ meta, messageHistory: byTime }), channel);
    }
    equal(await store.channels(), ["one", "two"]);

    await store.removeLogEntry("one", "m1");
    await store.removeOutgoing("one", outgoing.message.messageId);
    await store.removeIncoming("one", incoming.message.messageId);
    await store.removeOutgoingRepair("one", "__proto__");
    await store.removeIncomingRepair("one", "r2");
    await whole.saveChannelMeta("two", { lamport: 3n });
    await whole.updateHistory("two", { evict: ["m1"] });
    await store.saveLamport("one", 3n);
    for (const channel of ["one", "two"]) {
      const { meta: left, messageHistory } = await store.loadChannel(channel);
      equal(plain(left), plain({ lamport: 3n, outgoingBuffer: [], incomingBuffer: new Map(), outgoingRepair: new Map(),
        incomingRepair: new Map() }), channel);
      equal(plain(messageHistory), plain([history[1]]), channel);
    }
    await store.flush();
  },
  "sds: a message needs its id only, and nothing that a message does not have": async (t) => {
    const { job } = await t.job();
    const store = (await t.JobPersistence.open(job)).resolving("accepted");
    await store.appendLogEntry("general", { messageId: "m1" });
    const [found] = (await store.loadAllForChannel("general")).messageHistory;
    equal(found, { messageId: "m1", lamportTimestamp: 0n, causalHistory: [], channelId: "", content: new Uint8Array(),
      bloomFilter: new Uint8Array(), senderId: "", repairRequest: [] });
    for (const message of [{}, undefined, "m1", { messageId: 7 }, { messageId: "m", other: 1 },
      { messageId: "m", content: 7 }, { messageId: "m", lamportTimestamp: 1.5 },
      { messageId: "m", causalHistory: {} }]) {
      await rejects(store.appendLogEntry("general", message), "InvalidArgument", "NotApplied", show(message));
    }
    throws(() => store.resolving("never"), "InvalidArgument");
    equal((await store.loadAllForChannel("general")).messageHistory.length, 1);
  },
  "sds: a layer goes on after the worker's death with what was committed": async (t) => {
    const { root, job } = await t.job();
    const store = await t.JobPersistence.open(job);
    await store.saveLamport("general", 7n);
    const dying = failure(store.saveLamport("general", 8n));
    root.terminate();
    isError(await dying, "Backend", "Unknown");
    const { lamport } = await store.loadAllForChannel("general");
    equal([7n, 8n].includes(lamport), true);
    await store.saveLamport("general", 9n);
    equal((await store.loadAllForChannel("general")).lamport, 9n);
  },
};
