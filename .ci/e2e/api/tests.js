// The tests of the JavaScript API, by their names. Each takes what run.js makes and fails by throwing.
// They run in a page, as an application would; the names can be read anywhere.

import { deathTests } from "./deaths.js";
import { jobTests } from "./jobs.js";
import { archiveCutShortTests } from "./layers/archive-cut-short.js";
import { archiveSoakTests } from "./layers/archive-soak.js";
import { archiveTests } from "./layers/archive.js";
import { datastoreTests } from "./layers/datastore.js";
import { remoteTests } from "./layers/remote.js";
import { sdsTests } from "./layers/sds.js";
import { writeBehindTests } from "./layers/write-behind.js";
import { misuseTests } from "./misuse.js";
import { modelTests } from "./model.js";
import { readTests } from "./reads.js";
import { streamTests } from "./streams.js";
import { writeTests } from "./writes.js";

export const tests = {
  ...writeTests, ...readTests, ...streamTests, ...jobTests, ...misuseTests, ...deathTests, ...modelTests,
};

/** Those of the package's second entry, a file for each layer. */
export const layerTests = {
  ...remoteTests, ...sdsTests, ...datastoreTests, ...writeBehindTests, ...archiveTests, ...archiveCutShortTests,
  ...archiveSoakTests,
};
