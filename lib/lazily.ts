/**
 * A module that is loaded when it is first used. Jest replaces its modules between tests, so that what is loaded later would be another
 * copy: there it is loaded at once.
 */
export function lazily<T>(load: () => T): () => T {
  let loaded = process.env.JEST_WORKER_ID === undefined ? undefined : load();
  return () => {
    loaded ??= load();
    return loaded;
  };
}
