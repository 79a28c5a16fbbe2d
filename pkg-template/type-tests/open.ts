// A store is opened by name, with or without options.

import { Persistency } from "persistency";

const plain: Promise<Persistency> = Persistency.open("name");
const told: Promise<Persistency> = Persistency.open("name", { workerUrl: "/worker.js" });
// @ts-expect-error a root is named by a string
const wrong = Persistency.open(7);
export { plain, told, wrong };
