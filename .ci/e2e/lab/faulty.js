// The package's worker in a browser that can be told to do wrong; in this order, so that the package
// meets all of it from its first step on.

import './faults.js';
import './pkg/worker.js';
