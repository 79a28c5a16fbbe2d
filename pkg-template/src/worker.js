// The Web Worker of one root.

import { serve } from "./host.js";

const deliver = serve((message, transfer) => self.postMessage(message, transfer));
self.onmessage = ({ data }) => deliver(data);
