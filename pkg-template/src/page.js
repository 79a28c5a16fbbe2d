// The same in a page whose worker cannot start; loaded only there.

import { serve as host } from "./host.js";

/** Other wasm of the page traps as well, and that is not our death. */
const isOurs = ({ stack }) => /persistency/i.test(stack ?? "");

export const serve = (post) => host(post, isOurs);
