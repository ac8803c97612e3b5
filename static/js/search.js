/** Finding features and tokens by what is typed. */
(() => {
  "use strict";

  const { load, shown, root } = window.sitegen;
  const N_WORD_FILES = 256;
  const WORD = /[\p{L}\p{N}_]{2,}/gu; // as sitegen/render/search.py takes texts apart
  const TOKENS = 4; // what a match in a feature's tokens or labels weighs, beside a context's one

  /** @type {Promise<FeatureTable> | undefined} */
  let table;

  function features() {
    table ??= Promise.all([load("features"), load("lines"), load("vocabulary")]).then(
      async ([columns, lines, vocabulary]) => {
        await window.sitegen.pause(); // what came last has just been read
        const place = new Map(columns.feature_id.map((/** @type {number} */ id, /** @type {number} */ i) => [id, i]));
        return { ...columns, ...lines, vocabulary, place };
      },
      (error) => {
        table = undefined; // a later try may find them
        throw error;
      },
    );
    return table;
  }

  const AT_ONCE = 2000; // features taken in before the page may answer
  /** @type {WeakMap<FeatureTable, Promise<string[]>>} */
  const texts = new WeakMap();

  /**
   * What is shown of each feature in lists, to be looked through.
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
      made.push([features.feature_id[i], ...labels, ...features.tokens[i].map(name), ...features.promoted[i].map(name)].join("\n"));
      if (i % AT_ONCE === AT_ONCE - 1) await window.sitegen.pause();
    }
    return made;
  }

  /**
   * In how many contexts of each feature a word stands that begins so: place to count.
   * @param {string} word of two characters at least
   * @returns {Promise<Map<number, number>>}
   */
  async function contextsWith(word) {
    const [first, second] = [...word].map((character) => character.codePointAt(0) ?? 0);
    /** @type {{word: string[], features: number[][]}} */
    const words = await load(`words/${(31 * first + second) % N_WORD_FILES}`);
    const counts = new Map();
    for (const [i, known] of words.word.entries()) {
      if (!known.startsWith(word)) continue;
      const steps = words.features[i];
      let place = 0;
      for (let at = 0; at < steps.length; at += 2) {
        place += steps[at];
        counts.set(place, (counts.get(place) ?? 0) + steps[at + 1]);
      }
    }
    return counts;
  }

  /**
   * Where one term stands: place to weight.
   * @param {string} term in lower case
   * @param {FeatureTable} features
   * @returns {Promise<Map<number, number>>}
   */
  async function placesOf(term, features) {
    const words = term.match(WORD) ?? [];
    const found = together(await Promise.all(words.map(contextsWith)));
    const marks = window.sitegen.marks.all();
    const texts = await haystack(features);
    texts.forEach((text, place) => {
      const own = marks.get(features.feature_id[place])?.label.toLowerCase() ?? "";
      if (text.includes(term) || own.includes(term)) found.set(place, (found.get(place) ?? 0) + TOKENS);
    });
    return found;
  }

  /**
   * @param {string} query
   * @param {FeatureTable} features
   */
  async function matches(query, features) {
    const terms = query.toLowerCase().split(/\s+/).filter(Boolean);
    return together(await Promise.all(terms.map((term) => placesOf(term, features))));
  }

  /**
   * What all of some findings hold, their weights added up.
   * @param {Map<number, number>[]} parts
   * @returns {Map<number, number>}
   */
  function together(parts) {
    const [first = new Map(), ...others] = parts;
    const found = new Map();
    for (const [place, weight] of first) {
      if (others.every((part) => part.has(place))) {
        found.set(place, others.reduce((sum, part) => sum + (part.get(place) ?? 0), weight));
      }
    }
    return found;
  }

  /**
   * Ids of tokens that are what is typed, then of those that begin so; spaces around them do not count.
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

  Object.assign(window.sitegen, { features, matches, matchingTokens, featureUrl, tokenUrl });
})();
