// Type equality for the tests beside it; nothing of it runs.

/** Whether two types are the same, `any` being equal to itself alone. */
export type Equal<A, B> =
  (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false;

/** Compiles for `true` alone. */
export type Expect<T extends true> = T;

/** The type that a promise or an async iterator gives. */
export type Given<T> = T extends AsyncIterable<infer Item> ? Item : Awaited<T>;
