// The yardstick: IndexedDB itself, on the page.

import { destroyDatabase, openDatabase } from "../indexed-db.js";

export const name = "raw IndexedDB";
export const chosen =
  "a transaction for each call, relaxed, all requests issued at once and `commit()` called; `getAll` with " +
  "`getAllKeys` for the scan, `getAllRecords` backwards";

export const open = openDatabase;
export const destroy = destroyDatabase;
