/** Finds features and tokens by a query. */
(() => {
  "use strict";

  const { element, load, shown, root, sizes } = window.sitegen;
  // sitegen/render/search.py splits texts in the same way
  const WORD = /[\p{L}\p{N}_]{2,}/gu;
  // Weight of a match in a feature's tokens or labels; a match in a context weighs 1
  const TOKENS = 4;
  // Features processed before the page may respond
  const AT_ONCE = 2000;

  /** @type {Promise<FeatureTable> | undefined} */
  let table;

  function features() {
    table ??= Promise.all([load("features"), load("lines"), load("vocabulary")]).then(
      async ([columns, lines, vocabulary]) => {
        // The last file has just been parsed; the page may respond before more is done
        await window.sitegen.pause();
        const index = new Map(columns.feature_id.map((/** @type {number} */ id, /** @type {number} */ i) => [id, i]));
        return { ...columns, ...lines, vocabulary, index };
      },
      (error) => {
        // A later attempt may succeed
        table = undefined;
        throw error;
      },
    );
    return table;
  }

  /** @type {WeakMap<FeatureTable, Promise<string[]>>} */
  const texts = new WeakMap();

  /**
   * The text of each feature in lists, in lower case: its number, labels and tokens.
   * @param {FeatureTable} features
   */
  function haystack(features) {
    let found = texts.get(features);
    if (!found) texts.set(features, (found = makeHaystack(features)));
    return found;
  }

  /**
   * @param {FeatureTable} features
   * @returns {Promise<string[]>}
   */
  async function makeHaystack(features) {
    /** @type {Map<number, string>} */
    const names = new Map();
    /** @param {number} id */
    const name = (id) => {
      let known = names.get(id);
      if (known === undefined) names.set(id, (known = shown(id, features.vocabulary).toLowerCase()));
      return known;
    };
    const made = [];
    for (let i = 0; i < features.feature_id.length; i++) {
      const labels = (features.labels[i] ?? []).map((label) => `${label.label} ${label.author}`.toLowerCase());
      made.push(
        [features.feature_id[i], ...labels, ...features.tokens[i].map(name), ...features.promoted[i].map(name)].join(
          "\n",
        ),
      );
      if (i % AT_ONCE === AT_ONCE - 1) await window.sitegen.pause();
    }
    return made;
  }

  /**
   * Number of each feature's contexts with a word that begins like the given one, by feature index.
   * @param {string} word at least two characters
   * @returns {Promise<Map<number, number>>}
   */
  async function contextsWith(word) {
    const [first, second] = [...word].map((character) => character.codePointAt(0) ?? 0);
    /** @type {{word: string[], features: number[][]}} */
    const words = await load(`words/${(sizes.word_factor * first + second) % sizes.word_files}`);
    const counts = new Map();
    for (const [i, known] of words.word.entries()) {
      if (!known.startsWith(word)) continue;
      const steps = words.features[i];
      // Each index is stored as the distance from the one before
      let index = 0;
      for (let at = 0; at < steps.length; at += 2) {
        index += steps[at];
        counts.set(index, (counts.get(index) ?? 0) + steps[at + 1]);
      }
    }
    return counts;
  }

  /**
   * Weights of the features that match one term, by feature index.
   * @param {string} term in lower case
   * @param {FeatureTable} features
   * @returns {Promise<Map<number, number>>}
   */
  async function weightsOf(term, features) {
    const words = term.match(WORD) ?? [];
    const found = together(await Promise.all(words.map(contextsWith)));
    const marks = window.sitegen.marks.all();
    const texts = await haystack(features);
    texts.forEach((text, index) => {
      const own = marks.get(features.feature_id[index])?.label.toLowerCase() ?? "";
      if (text.includes(term) || own.includes(term)) found.set(index, (found.get(index) ?? 0) + TOKENS);
    });
    return found;
  }

  /**
   * @param {string} query
   * @param {FeatureTable} features
   */
  async function matches(query, features) {
    const terms = query.toLowerCase().split(/\s+/).filter(Boolean);
    return together(await Promise.all(terms.map((term) => weightsOf(term, features))));
  }

  /**
   * The features that all parts contain, with the sums of their weights.
   * @param {Map<number, number>[]} parts
   * @returns {Map<number, number>}
   */
  function together(parts) {
    const [first = new Map(), ...others] = parts;
    const found = new Map();
    for (const [index, weight] of first) {
      if (others.every((part) => part.has(index))) {
        found.set(
          index,
          others.reduce((sum, part) => sum + (part.get(index) ?? 0), weight),
        );
      }
    }
    return found;
  }

  /**
   * Ids of the tokens that begin like the query, shortest first; spaces around tokens are ignored.
   * @param {string} query
   * @param {Vocabulary} vocabulary
   * @param {number} atMost
   */
  function matchingTokens(query, vocabulary, atMost) {
    const wanted = query.replaceAll("·", " ").trim().toLowerCase();
    /** @type {[number, number][]} */
    const found = [];
    if (!wanted) return [];
    vocabulary.text.forEach((text, id) => {
      const own = text.trim().toLowerCase();
      if (own.startsWith(wanted)) found.push([own.length - wanted.length, id]);
    });
    return found
      .sort((one, other) => one[0] - other[0] || one[1] - other[1])
      .slice(0, atMost)
      .map(([, id]) => id);
  }

  /** @param {number} featureId */
  const featureUrl = (featureId) => `${root}features/${featureId}.html`;
  /** @param {number} id */
  const tokenUrl = (id) => `${root}token.html?id=${id}`;
  /** @param {number} featureId */
  const linkTo = (featureId) => element("a", { href: featureUrl(featureId) }, String(featureId));

  Object.assign(window.sitegen, { features, matches, matchingTokens, featureUrl, tokenUrl, linkTo });
})();
