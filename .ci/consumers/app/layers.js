// What a consumer of the second entry runs in the place of main.js: a layer keeps something and reads it back.

import { JobPersistence, Persistency } from "persistency/layers";

let workers = 0;
globalThis.Worker = class extends globalThis.Worker {
  constructor(...args) {
    super(...args);
    workers += 1;
  }
};

async function run() {
  const root = await Persistency.open("layered", Object.fromEntries(new URLSearchParams(location.search)));
  const store = await JobPersistence.open(await root.openJob("alpha"));
  await store.saveLamport("general", 7n);
  const { lamport } = await store.loadAllForChannel("general");
  return { lamport: `${lamport}n`, workers };
}

const tell = (result) => { document.querySelector("output").textContent = JSON.stringify(result); };

run().then(tell, ({ name, kind, message }) => tell({ name, kind, message }));
