// A block with `await using`, in a file of its own since not every browser reads it.

/** Runs `use` with what `make` makes, which is disposed of at the end of the block. */
export async function within(make, use) {
  await using thing = await make();
  return await use(thing);
}
