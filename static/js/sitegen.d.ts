/** What the scripts of the site share: one global, to which each adds. Only the type checker reads this file. */

/** load/vocabulary.js */
interface Vocabulary {
  /** by token id; line ends and the like as marks, spaces as spaces */
  text: string[];
  /** of the tokens that are not whole characters, by token id */
  bytes: Record<string, number[]>;
}

interface FeatureLabel {
  label: string;
  author: string;
}

/** load/features.js and load/lines.js: a few facts of every feature; the lists run parallel, by the feature's index */
interface FeatureColumns {
  kinds: string[];
  feature_id: number[];
  /** index among the kinds */
  kind: number[];
  density: number[];
  max_activation: number[];
  rare_cosine: (number | null)[];
  /** ids of the tokens that the top contexts peak on */
  tokens: number[][];
  /** ids of the tokens most promoted */
  promoted: number[][];
  before: string[];
  peak: string[];
  after: string[];
  /** by feature index */
  labels: Record<string, FeatureLabel[]>;
}

interface FeatureTable extends FeatureColumns {
  vocabulary: Vocabulary;
  /** index of each feature, by its number */
  index: Map<number, number>;
}

/**
 * load/evidence/N.js, of feature N; the lists run parallel, those of tokens and their changes one for each rank. Changes
 * are in thousandths, and all but the first are differences from that of the rank before.
 */
interface Ablations {
  context: number[];
  offset: number[];
  loss_change: (number | null)[];
  promoted_id: number[][];
  promoted_change: number[][];
  suppressed_id: number[][];
  suppressed_change: number[][];
}

/** load/tokens/N.js: by token id: feature index, number, feature index, number … */
interface TokenPostings {
  active: Record<string, number[]>;
  promotes: Record<string, number[]>;
  suppresses: Record<string, number[]>;
}

/** Where a context is: its row, its peak's position, and the positions of its first token and after its last one. */
interface ContextSpan {
  row: number;
  position: number;
  start: number;
  end: number;
}

/** What the list of all features is filtered and sorted by; densities in percent. */
interface ListState {
  q: string;
  kind: string;
  low: number;
  high: number;
  maximum: number;
  rare: number;
  starred: boolean;
  labelled: boolean;
  sort: string;
  down: boolean;
}

/** A column of a table of features. */
interface TableColumn<Row> {
  title: string;
  /** as data-column */
  name?: string;
  class?: string;
  /** what a cell holds */
  cell(row: Row): (Node | string)[];
  /** a cell's tooltip */
  hint?(row: Row): string;
}

/** Neighbouring tokens that form whole characters together; most often a single token. */
interface TokenGroup {
  first: number;
  last: number;
  text: string;
}

/** A reader's notes on a feature. */
interface Mark {
  starred: boolean;
  label: string;
}

/** load/live/settings.js */
interface LiveSettings {
  precision: "int16" | "fp32";
  model: { n_layers: number; n_heads: number; activation: string; epsilon: number; score_scale: number; hook: string };
  normalisation: "none" | "layer_norm" | "constant_norm_rescale";
  /** null if rows begin with text */
  bos_id: number | null;
  special_ids: number[];
  seq_len: number;
  n_checked: number;
  largest_error: number;
  d_model: number;
  d_hook: number;
  n_features: number;
  tokens_per_file: number;
  features_per_file: number;
}

/** A reader's text as a row of the sweep. */
interface TextRow {
  ids: number[];
  /** position of the first token of text: 1 after BOS, else 0 */
  begin: number;
  /** for each token whether it is not special, and so counts in a maximum */
  isText: boolean[];
  /** number of tokens cut off at the length of a row */
  left: number;
}

/** Features that are active on a text, by their index. */
interface ActiveFeatures {
  /** for each token [feature index, activation], largest first */
  strongest: [number, number][][];
  /** [feature index, largest activation, its token] of all features that are active on text */
  active: [number, number, number][];
}

/** Rows of numbers; a scale for each row if they are 16-bit integers. */
interface Matrix {
  values: Int16Array | Float32Array;
  scale?: Float32Array;
}

/** The encoder of some features; each is active above its threshold. */
interface EncoderRows {
  weight: Matrix;
  bias: Matrix;
  threshold: Matrix;
}

/** The model and the encoder, in a worker. */
interface Engine {
  start(settings: LiveSettings): void;
  take(kind: string, number: number, value: any): void;
  read(text: number[]): void;
  feature(index: number): number[];
  clear(): void;
  scan(files: number[]): void;
  results(): ActiveFeatures;
}

interface Sitegen {
  /** sizes that the build shares with its scripts: sitegen/render/assets.py */
  sizes: {
    first_character: number;
    character_bits: number;
    word_files: number;
    word_factor: number;
    tokens_per_file: number;
    rows_per_file: number;
    line_before: number;
    line_after: number;
    longest_label: number;
  };
  /** URL of the site's first folder */
  root: string;
  /** The value of a file below load/, which is read once. */
  load(name: string, keep?: boolean): Promise<any>;
  /** The message of an error, for use in a sentence. */
  reason(error: unknown): string;
  /** Lets the page respond before more is done. */
  pause(): Promise<void>;
  /** Called by those files, with a value or with compressed JSON of so many bytes. */
  data(name: string, value: unknown): void;
  packed(name: string, length: number, text: string): void;
  element(tag: string, attributes?: Record<string, string>, ...children: (Node | string)[]): HTMLElement;
  /** A button that copies a text. */
  copier(name: string, text: () => string, attributes?: Record<string, string>): HTMLElement;
  /** Puts a card beside an element, within the window. */
  putBeside(card: HTMLElement, beside: Element): void;
  /** Where the context of a line is. */
  spanOf(line: Element | null): ContextSpan;
  /** Holds the contexts of a feature's page; null on other pages. */
  columns: HTMLElement | null;
  /** The number of the page's feature; null on other pages. */
  featureId: number | null;

  percent(share: number): string;
  significant(value: number): string;
  grouped(count: number): string;
  lineOf(features: FeatureTable, index: number, tag: string): HTMLElement;
  labelOf(features: FeatureTable, index: number): string;
  /** A token shown by itself: spaces as · */
  shown(id: number, vocabulary: Vocabulary): string;
  groups(ids: number[], vocabulary: Vocabulary): TokenGroup[];

  /** The token ids of a row with a context; only on feature pages. */
  rowTokens(row: number): Promise<number[]>;
  features(): Promise<FeatureTable>;
  featureUrl(featureId: number): string;
  tokenUrl(id: number): string;
  /** A link to a feature's page. */
  linkTo(featureId: number): HTMLElement;
  /** Weights of the features that match every term of a query, by feature index. */
  matches(query: string, table: FeatureTable): Promise<Map<number, number>>;
  matchingTokens(query: string, vocabulary: Vocabulary, atMost: number): number[];

  table: {
    head<Row, Column extends TableColumn<Row>>(
      columns: Column[],
      content?: (column: Column) => Node | string,
    ): HTMLElement;
    row<Row>(columns: TableColumn<Row>[], row: Row, attributes?: Record<string, string>): HTMLElement;
    framed<Row>(columns: TableColumn<Row>[], rows: Row[], label: string): HTMLElement;
    description(features: FeatureTable, index: number): (Node | string)[];
  };
  filters: {
    stateOf(given: URLSearchParams): ListState;
    addressOf(state: ListState): string;
    accepts(features: FeatureTable, index: number, state: ListState): boolean;
    form(state: ListState, kinds: string[], update: () => void): HTMLElement;
  };

  makeEngine(): Engine;
  /** The model on a reader's own text, on sites that have one. */
  live: {
    settings(): Promise<LiveSettings>;
    encode(text: string): Promise<number[]>;
    rowOf(text: string): Promise<TextRow>;
    activations(index: number, ids: number[], progress: (done: number, of: number) => void): Promise<number[]>;
    strongest(
      ids: number[],
      progress: (done: number, of: number) => void,
      stopped: () => boolean,
    ): Promise<ActiveFeatures | null>;
  };

  ownText: {
    field(label: string, key: string): { area: HTMLTextAreaElement; status: HTMLElement };
    textOf(hash: string): string | undefined;
    linkTo(page: string, text: string): string;
    tokenLine(
      ids: number[],
      vocabulary: Vocabulary,
      values: number[],
      maximum: number,
      pointed: (token: number) => void,
    ): HTMLElement;
    named(ids: number[], at: number, vocabulary: Vocabulary): (Node | string)[];
    /** The sentence on tokens beyond the length of a row; empty without any. */
    leftOut(n: number): string;
    newest(work: () => Promise<void>): () => Promise<void>;
  };
  /** Puts a text into the field of a feature's page, if there is one. */
  tryText?(text: string): void;

  marks: {
    all(): Map<number, Mark>;
    of(featureId: number): Mark;
    set(featureId: number, mark: Mark): void;
    /** the text of a labels file */
    exported(): string;
    /** adds the entries of a labels file; counts those taken and those skipped as invalid */
    imported(text: string): { taken: number; skipped: number };
    /** the problem when they were last saved; empty if there was none */
    trouble(): string;
  };
}

interface Window {
  sitegen: Sitegen;
}
