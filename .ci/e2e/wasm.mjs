// A wasm module as its sections, and back: what the steps of the packing have in common. Knows nothing of code.

const HEADER_BYTES = 8;
const NAMES = measured(Buffer.from('name'));
const FUNCTION_NAMES = 1;

export const SECTION = { custom: 0, imports: 2, exports: 7, elements: 9, code: 10 };

/** Reads a module's numbers and bytes. */
export class Reader {
  at = 0;

  constructor(bytes) {
    this.bytes = bytes;
  }

  number() {
    for (let value = 0, shift = 1; ; shift *= 128) {
      const [byte] = this.take(1);
      if (byte === undefined) throw new Error('the module ends too early');
      value += (byte & 127) * shift;
      if (byte < 128) return value;
    }
  }

  take(size) {
    this.at += size;
    return this.bytes.subarray(this.at - size, this.at);
  }

  measured() {
    return this.take(this.number());
  }

  /** Reads a list, each of whose items `read` reads. */
  list(read) {
    return Array.from({ length: this.number() }, read);
  }
}

export function encoded(number) {
  const bytes = [];
  for (let rest = number; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return Buffer.from([...bytes, rest]);
    bytes.push((rest % 128) | 128);
  }
}

export function measured(bytes) {
  return Buffer.concat([encoded(bytes.length), bytes]);
}

/** A list as it stands in a section. */
export const listed = (items) => Buffer.concat([encoded(items.length), ...items]);

export function sections(module) {
  const reader = new Reader(module);
  reader.take(HEADER_BYTES);
  const all = [];
  while (reader.at < module.length) all.push({ id: reader.take(1)[0], body: reader.measured() });
  return all;
}

/** The module of these sections, with the header of that one. */
export function assembled(module, all) {
  const bytes = all.flatMap(({ id, body }) => [Buffer.from([id]), measured(body)]);
  return Buffer.concat([module.subarray(0, HEADER_BYTES), ...bytes]);
}

export const isNames = ({ id, body }) => id === SECTION.custom && body.subarray(0, NAMES.length).equals(NAMES);

/** Names of functions, each an index and the name, as a section. */
export function nameSection(names) {
  const table = measured(listed(names.map(([index, name]) => Buffer.concat([encoded(index), measured(Buffer.from(name))]))));
  return { id: SECTION.custom, body: Buffer.concat([NAMES, Buffer.from([FUNCTION_NAMES]), table]) };
}

/** The functions' names by their indices. */
export function functionNames(all) {
  const { body } = all.find(isNames);
  const reader = new Reader(body.subarray(NAMES.length));
  while (reader.at < reader.bytes.length) {
    const kind = reader.take(1)[0];
    const names = new Reader(reader.measured());
    if (kind === FUNCTION_NAMES) return new Map(names.list(() => [names.number(), names.measured().toString()]));
  }
  throw new Error('the functions have no names');
}
