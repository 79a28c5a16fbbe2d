// IndexedDB in a worker of its own.

import { openDatabase } from "./indexed-db.js";
import { answerCalls } from "./rpc.js";

answerCalls(globalThis, openDatabase);
