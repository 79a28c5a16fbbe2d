// A worker of another version of the package.

self.onmessage = () => self.postMessage({ hello: [4_000_000] });
