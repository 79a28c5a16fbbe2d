// Runs groups of tests one after another and says how each went. Knows nothing of what they test.

/** Runs `{ tests, cleanUp }` after `{ tests, cleanUp }`; of the tests those whose names hold `words`. */
export async function runAll(groups, words = '') {
  let [passed, failed] = [0, 0];
  for (const { tests, cleanUp = () => {} } of groups) {
    for (const [name, test] of Object.entries(tests).filter(([each]) => each.includes(words))) {
      const started = Date.now();
      try {
        await test();
        passed += 1;
        console.log(`ok      ${name} (${((Date.now() - started) / 1000).toFixed(1)} s)`);
      } catch (error) {
        failed += 1;
        console.log(`FAILED  ${name}\n${error.stack}`);
      }
    }
    await cleanUp();
  }
  return { passed, failed };
}
