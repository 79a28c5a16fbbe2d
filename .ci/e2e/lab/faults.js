// A browser that does wrong what it is told to over the channel `faults`:
//
// - `open: "never"`: requests to open are never answered;
// - `open: "backing"`: they fail as where the browser cannot open its own files;
// - `lost: n`: the next n transactions fail as where the browser's storage process has gone;
// - `silent: true`: nothing is broadcast;
// - `loop: true`: the thread goes round and round.
//
// Every word is answered with its id before it is kept, and kept once however often it is said.

let faults = {};
let last;

const channel = new BroadcastChannel('faults');
const answer = channel.postMessage.bind(channel);
channel.onmessage = ({ data: { id, what } }) => {
  if (!what || id === last) return;
  last = id;
  faults = what;
  answer(id);
  while (faults.loop);
};

function replace(prototype, name, make) {
  const original = prototype[name];
  prototype[name] = function replaced(...all) {
    return make(() => original.apply(this, all));
  };
}

replace(IDBFactory.prototype, 'open', (open) => {
  if (faults.open === 'never') return {};
  if (faults.open !== 'backing') return open();
  const error = new DOMException('Internal error opening backing store for indexedDB.open.', 'UnknownError');
  const request = { error, result: undefined, transaction: null };
  setTimeout(() => request.onerror(new Event('error')));
  return request;
});
replace(IDBDatabase.prototype, 'transaction', (transaction) => {
  if (!(faults.lost > 0)) return transaction();
  faults.lost -= 1;
  throw new DOMException('Connection to Indexed Database server lost. Refresh the page to try again',
    'UnknownError');
});
replace(BroadcastChannel.prototype, 'postMessage', (post) => {
  if (!faults.silent) post();
});
