// Makes a script of the package small: drops what nobody reads, and gives what only our classes know short names.
// Never renames what others could mean: what a user may say or see, what a platform's objects have, what crosses
// between page and worker.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { minify } from 'terser';

/** What page and worker say beside frames; the other one may be of another version of the package. */
const MESSAGE_FIELDS = ['protocol', 'root', 'wasmUrl', 'wasmModule', 'leave', 'hello', 'failed', 'error', 'fatal'];

/** Every word of the core's declarations that is no comment: among them are all names that users have. */
function declared(template) {
  return readFileSync(join(template, 'index.d.ts'), 'utf8').replace(/\/\*[^]*?\*\//g, '').match(/\w+/g);
}

/** What the script's own classes call their members, but for those that it has as a string somewhere. */
async function members(script) {
  const { ast } = await minify(script,
    { module: true, compress: false, mangle: false, format: { ast: true, code: false, spidermonkey: true } });
  const [names, strings] = [new Set(), new Set()];
  const add = ({ type, name }, computed) => type === 'Identifier' && !computed && names.add(name);
  const walk = (node) => {
    if (node?.type === 'MethodDefinition' || node?.type === 'PropertyDefinition') add(node.key, node.computed);
    if (node?.type === 'AssignmentExpression' && node.left.object?.type === 'ThisExpression') {
      add(node.left.property, node.left.computed);
    }
    if (node?.type === 'Literal') strings.add(node.value);
    for (const each of Object.values(node)) if (typeof each === 'object' && each !== null) walk(each);
  };
  walk(ast);
  return [...names].filter((name) => !strings.has(name));
}

/** What may be renamed in a script of the core. `operations` are put into errors as they are written. */
async function ours(script, template, operations) {
  const kept = new Set([...MESSAGE_FIELDS, ...operations, ...declared(template)]);
  return (await members(script)).filter((name) => !kept.has(name));
}

/**
 * The script, smaller. Of one with layers all names stay: what its page and its worker say to each other has names
 * that are written nowhere else.
 */
export async function shortened(script, { hasLayers, isPage, template, operations }) {
  const names = hasLayers ? [] : await ours(script, template, operations);
  const { code } = await minify(script, {
    module: true,
    ecma: 2020,
    // Nothing here is made with `new` but classes, and no getter does anything. Functions in a row compress better where
    // there are many small ones, and worse where there are few.
    compress: {
      passes: 3, lhs_constants: false, pure_getters: true, unsafe_arrows: true, unsafe_methods: true, hoist_funs: isPage,
    },
    // What a platform's objects have is kept by itself.
    mangle: { properties: names.length > 0 && { regex: new RegExp(`^(?:${names.join('|')})$`) } },
    format: { comments: /^!/ },
  });
  return code;
}
