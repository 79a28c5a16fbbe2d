// The same in a page whose worker cannot start; loaded only there.

import { serve as host } from "./host.js";

/** This script's own address, which bundlers choose and only a stack tells. */
const [here] = /\w+:\/\/[^\s()]+?(?=:\d+:\d+)/.exec(new Error().stack ?? "") ?? [];

/** Other wasm of the page traps as well, and that is not our death. */
const isOurs = ({ stack }) => here === undefined || String(stack).includes(here);

export const serve = (post) => host(post, isOurs);
