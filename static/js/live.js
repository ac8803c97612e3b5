/** The model in the page: loads the files that a text needs and computes in a worker. */
(() => {
  "use strict";

  const site = window.sitegen;
  // Files requested at the same time
  const AT_ONCE = 6;
  // Encoder files per step; a search of all features can be cancelled between steps
  const FILES_A_STEP = 4;

  /** @type {Promise<(method: string, ...values: unknown[]) => Promise<any>> | undefined} */
  let started;
  /** @type {Map<string, Promise<unknown>>} files that the worker has or will have */
  const held = new Map();
  /** @type {Promise<{ encode(text: string): number[] }> | undefined} */
  let tokenizer;

  /** @returns {Promise<LiveSettings>} */
  const settings = () => site.load("live/settings");

  /** A function that calls a method of the engine in its worker, which is started once. */
  function worker() {
    started ??= start();
    started.catch(() => (started = undefined));
    return started;
  }

  async function start() {
    const engine = `"use strict"; const engine = (${site.makeEngine})();
      onmessage = ({ data: [number, method, values] }) => {
        try { postMessage([number, engine[method](...values)]); }
        catch (error) { postMessage([number, undefined, String(error instanceof Error ? error.message : error)]); }
      };`;
    const made = new Worker(URL.createObjectURL(new Blob([engine], { type: "text/javascript" })));
    /** @type {Map<number, { resolve: (value: any) => void, reject: (error: Error) => void }>} */
    const calls = new Map();
    let last = 0;
    made.onmessage = ({ data: [number, value, problem] }) => {
      const call = calls.get(number);
      calls.delete(number);
      if (problem === undefined) call?.resolve(value);
      else call?.reject(new Error(problem));
    };
    made.onerror = (event) => {
      for (const call of calls.values()) call.reject(new Error(event.message || "the worker of the model failed"));
      calls.clear();
    };
    /**
     * @param {string} method
     * @param {...unknown} values
     */
    const call = (method, ...values) =>
      new Promise((resolve, reject) => {
        calls.set(++last, { resolve, reject });
        made.postMessage([last, method, values]);
      });
    await call("start", await settings());
    return call;
  }

  /**
   * @param {string} kind
   * @param {number} number
   */
  const nameOf = (kind, number) => (kind === "positions" ? kind : `${kind}/${number}`);

  /**
   * Sends a file to the worker, once; the page does not keep it.
   * @param {string} kind
   * @param {number} number
   */
  function hold(kind, number) {
    const name = nameOf(kind, number);
    let done = held.get(name);
    if (!done) {
      done = Promise.all([worker(), site.load(`live/${name}`, false)]).then(([call, value]) =>
        call("take", kind, number, value),
      );
      held.set(name, done);
      done.catch(() => held.delete(name));
    }
    return done;
  }

  /**
   * Sends files to the worker, a few at a time.
   * @param {[string, number][]} files
   * @param {(done: number, of: number) => void} progress not called any more once a file has failed
   */
  async function holdAll(files, progress) {
    let next = 0;
    let done = 0;
    let failed = false;
    const report = () => {
      if (!failed && missing) progress(done, files.length);
    };
    const missing = files.filter(([kind, number]) => !held.has(nameOf(kind, number))).length;
    report();
    const lane = async () => {
      while (next < files.length && !failed) {
        try {
          await hold(...files[next++]);
        } catch (error) {
          failed = true;
          throw error;
        }
        done++;
        report();
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, lane));
  }

  /**
   * Token ids of a text, made as those of the rows: names of special tokens are plain text.
   * @param {string} text
   * @returns {Promise<number[]>}
   */
  async function encode(text) {
    tokenizer ??= Promise.all([site.load("live/library"), site.load("live/tokenizer")]).then(
      ([library, definition]) => {
        const made = new library.Tokenizer(definition, {});
        return { encode: (/** @type {string} */ plain) => made.encode(plain, { add_special_tokens: false }).ids };
      },
    );
    tokenizer.catch(() => (tokenizer = undefined));
    return (await tokenizer).encode(text.replace(/\p{Surrogate}/gu, "\ufffd"));
  }

  /**
   * Token ids of a text as a row of the sweep: after BOS if rows begin with it, cut at the length of a row.
   * @param {string} text
   * @returns {Promise<TextRow>}
   */
  async function rowOf(text) {
    const [{ bos_id, special_ids, seq_len }, own] = await Promise.all([settings(), encode(text)]);
    const all = bos_id === null ? own : [bos_id, ...own];
    const ids = all.slice(0, seq_len);
    const isText = ids.map((id) => !special_ids.includes(id));
    return { ids, begin: all.length - own.length, isText, left: all.length - ids.length };
  }

  /**
   * Runs the model over a text.
   * @param {number[]} ids
   * @param {[string, number][]} more files needed beside the model's
   * @param {(done: number, of: number) => void} progress
   */
  async function read(ids, more, progress) {
    const { model, tokens_per_file } = await settings();
    const blocks = new Set(ids.map((id) => Math.floor(id / tokens_per_file)));
    /** @type {[string, number][]} */
    const files = [["positions", 0]];
    for (let layer = 0; layer < model.n_layers; layer++) files.push(["layers", layer]);
    for (const block of blocks) files.push(["embedding", block]);
    await holdAll([...files, ...more], progress);
    const call = await worker();
    await call("read", ids);
    return call;
  }

  /**
   * @param {number} index of the feature
   * @param {number[]} ids
   * @param {(done: number, of: number) => void} progress
   * @returns {Promise<number[]>} its activation on each token
   */
  async function activations(index, ids, progress) {
    const { features_per_file } = await settings();
    const call = await read(ids, [["encoder", Math.floor(index / features_per_file)]], progress);
    return call("feature", index);
  }

  /**
   * The features that are active on a text, among all features.
   * @param {number[]} ids
   * @param {(done: number, of: number) => void} progress
   * @param {() => boolean} stopped
   * @returns {Promise<ActiveFeatures | null>} null if it was stopped
   */
  async function strongest(ids, progress, stopped) {
    const { n_features, features_per_file } = await settings();
    const call = await read(ids, [], () => undefined);
    await call("clear");
    const files = Array.from({ length: Math.ceil(n_features / features_per_file) }, (_, number) => number);
    for (let at = 0; at < files.length; at += FILES_A_STEP) {
      if (stopped()) return null;
      const step = files.slice(at, at + FILES_A_STEP);
      await Promise.all(step.map((number) => hold("encoder", number)));
      if (stopped()) return null;
      await call("scan", step);
      progress(Math.min((at + step.length) * features_per_file, n_features), n_features);
    }
    return call("results");
  }

  site.live = { settings, encode, rowOf, activations, strongest };
})();
