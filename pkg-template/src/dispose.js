// The name under which `await using` finds how to close something, also where the browser does not know it yet.

/** `Symbol.asyncDispose`, or what stands for it. */
export const asyncDispose = Symbol.asyncDispose ?? Symbol.for("Symbol.asyncDispose");
