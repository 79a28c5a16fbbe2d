// Reads a wasm module as sections, and the numbers in them, and writes it again. Knows no instruction.

export const SECTION = { custom: 0, imports: 2, exports: 7, elements: 9, code: 10 };
export const FUNCTION_NAMES = 1;
const HEADER_BYTES = 8;

/** Reads a module's numbers and bytes. */
export class Reader {
  at = 0;

  constructor(bytes) {
    this.bytes = bytes;
  }

  number() {
    for (let value = 0, shift = 1; ; shift *= 128) {
      const byte = this.bytes[this.at++];
      value += (byte & 127) * shift;
      if (byte < 128) return value;
    }
  }

  take(size) {
    this.at += size;
    return this.bytes.subarray(this.at - size, this.at);
  }
}

export function encoded(number) {
  const bytes = [];
  for (let rest = number; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return Buffer.from([...bytes, rest]);
    bytes.push((rest % 128) | 128);
  }
}

export const measured = (bytes) => Buffer.concat([encoded(bytes.length), bytes]);

export function sections(module) {
  const reader = new Reader(module);
  reader.take(HEADER_BYTES);
  const all = [];
  while (reader.at < module.length) all.push({ id: reader.take(1)[0], body: reader.take(reader.number()) });
  return all;
}

/** The module of these sections; what is not among them comes from the one that they are of. */
export function assembled(module, all) {
  const written = all.flatMap(({ id, body }) => [Buffer.from([id]), measured(body)]);
  return Buffer.concat([module.subarray(0, HEADER_BYTES), ...written]);
}

/** Whether a section holds names. */
export const isNames = ({ id, body }) => id === SECTION.custom && body.subarray(0, 5).equals(measured(Buffer.from('name')));
