// Tries to open a root where the origin is opaque, and tells the page around it what came of it.

import { Persistency } from '/pkg/index.js';

const told = await Persistency.open('sandboxed').then((root) => root.openJob('alpha'))
  .then(() => ({ kind: 'none' }), ({ name, kind, outcome, message }) => ({ name, kind, outcome, message }));
parent.postMessage(told, '*');
