// What the package's second entry exports: everything of the first, and the layers.

import { JobPersistence } from "./sds.js";

export * from "../index.js";
export { JobPersistence };

// Classes are renamed where the package is made small; consoles are to show these names all the same.
const names = { JobPersistence };
for (const [value, each] of Object.entries(names)) Object.defineProperty(each, "name", { value });
