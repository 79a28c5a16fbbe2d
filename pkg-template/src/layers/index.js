// What the package's second entry exports: everything of the first, and the layers.

import { Archive, ArchiveReader, exportJob, importJob } from "./archive/index.js";
import { Collection, Datastore, Janitor, Member, Pool } from "./datastore/index.js";
import { JobPersistence } from "./sds.js";
import { WriteBehind } from "./write-behind/index.js";

export * from "../index.js";
export {
  Archive, ArchiveReader, Collection, Datastore, exportJob, importJob, Janitor, JobPersistence, Member, Pool, WriteBehind,
};

// Classes are renamed where the package is made small; consoles are to show these names all the same.
const names = { Archive, ArchiveReader, Collection, Datastore, Janitor, JobPersistence, Member, Pool, WriteBehind };
for (const [value, each] of Object.entries(names)) Object.defineProperty(each, "name", { value });
