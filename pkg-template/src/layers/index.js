// What the package's second entry exports: everything of the first, and the layers.

export * from "../index.js";
