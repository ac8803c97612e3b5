/** What the scripts of the site share: one global, to which each adds. For the type checker alone; pages never load it. */

/** load/vocabulary.js */
interface Vocabulary {
  /** of each id, line ends and the like as marks, spaces as spaces */
  text: string[];
  /** of those ids that are no whole character by themselves */
  bytes: Record<string, number[]>;
}

interface FeatureLabel {
  label: string;
  author: string;
}

/** load/features.js and load/lines.js: a few facts of every feature; the lists run parallel, by place */
interface FeatureColumns {
  kinds: string[];
  feature_id: number[];
  /** among the kinds */
  kind: number[];
  density: number[];
  max_activation: number[];
  rare_cosine: (number | null)[];
  /** ids of tokens that the strongest contexts peak on */
  tokens: number[][];
  /** ids of the tokens most promoted */
  promoted: number[][];
  before: string[];
  peak: string[];
  after: string[];
  /** by place */
  labels: Record<string, FeatureLabel[]>;
}

interface FeatureTable extends FeatureColumns {
  vocabulary: Vocabulary;
  /** place of each feature number */
  place: Map<number, number>;
}

/** load/evidence/N.js, of feature N; the lists run parallel */
interface Ablations {
  context: number[];
  offset: number[];
  loss_change: (number | null)[];
  promoted_id: number[][];
  promoted_change: number[][];
  suppressed_id: number[][];
  suppressed_change: number[][];
}

/** load/tokens/N.js: under an id: place, number, place, number … */
interface TokenPostings {
  active: Record<string, number[]>;
  promotes: Record<string, number[]>;
  suppresses: Record<string, number[]>;
}

/** Neighbouring tokens that make whole characters together: most often one. */
interface TokenGroup {
  first: number;
  last: number;
  text: string;
}

/** What a reader has noted of a feature. */
interface Mark {
  starred: boolean;
  label: string;
}

/** load/live/settings.js */
interface LiveSettings {
  precision: "int16" | "fp32";
  model: { n_layers: number; n_heads: number; activation: string; epsilon: number; score_scale: number; hook: string };
  normalisation: "none" | "layer_norm" | "constant_norm_rescale";
  /** null: rows begin with text */
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

/** A reader's text as a row of the sweep would hold it. */
interface TextRow {
  ids: number[];
  /** the position of the first token of text: 1 behind BOS, else 0 */
  begin: number;
  /** of each token, whether it is no special one, and so counts in a maximum */
  isText: boolean[];
  /** tokens beyond the length of a row */
  left: number;
}

/** Features that fire on a text, by their places. */
interface ActiveFeatures {
  /** of each token [place, activation], the strongest first */
  strongest: [number, number][][];
  /** [place, largest activation, the token it is on] of all that fire on text */
  active: [number, number, number][];
}

/** Rows of numbers; what 1 stands for in each of them, where they are whole numbers. */
interface Matrix {
  values: Int16Array | Float32Array;
  scale?: Float32Array;
}

/** Of some features; each fires above its threshold. */
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
  feature(place: number): number[];
  clear(): void;
  scan(files: number[]): void;
  results(): ActiveFeatures;
}

interface Sitegen {
  /** the site's first folder, as a URL */
  root: string;
  /** A value that a file below load/ hands over; it is read once. */
  load(name: string, keep?: boolean): Promise<any>;
  /** What is wrong, to be told in a sentence. */
  reason(error: unknown): string;
  /** Lets the page answer before more is done. */
  pause(): Promise<void>;
  /** Called by those files. */
  data(name: string, value: unknown): void;
  element(tag: string, attributes?: Record<string, string>, ...children: (Node | string)[]): HTMLElement;
  /** A button that copies a text. */
  copier(name: string, text: () => string, attributes?: Record<string, string>): HTMLElement;
  /** Puts a card beside an element, within the window. */
  place(card: HTMLElement, beside: Element): void;
  /** The row of a line of context, and the position of its peak. */
  placeOf(line: Element): [number, number];

  percent(share: number): string;
  significant(value: number): string;
  grouped(count: number): string;
  lineOf(features: FeatureTable, place: number, tag: string): HTMLElement;
  labelOf(features: FeatureTable, place: number): string;
  /** A token standing alone: spaces as · */
  shown(id: number, vocabulary: Vocabulary): string;
  groups(ids: number[], vocabulary: Vocabulary): TokenGroup[];

  /** The token ids of a row in which a context stands; there on feature pages. */
  rowTokens(row: number): Promise<number[]>;
  features(): Promise<FeatureTable>;
  featureUrl(featureId: number): string;
  tokenUrl(id: number): string;
  /** Every term of a query somewhere in a feature: its place, and how well it fits. */
  matches(query: string, table: FeatureTable): Promise<Map<number, number>>;
  matchingTokens(query: string, vocabulary: Vocabulary, atMost: number): number[];

  makeEngine(): Engine;
  /** The model on a reader's own text; of use on sites that have one. */
  live: {
    settings(): Promise<LiveSettings>;
    encode(text: string): Promise<number[]>;
    rowOf(text: string): Promise<TextRow>;
    activations(place: number, ids: number[], tell: (done: number, of: number) => void): Promise<number[]>;
    strongest(ids: number[], tell: (done: number, of: number) => void, stopped: () => boolean): Promise<ActiveFeatures | null>;
  };

  ownText: {
    field(label: string, key: string): { area: HTMLTextAreaElement; status: HTMLElement };
    textOf(hash: string): string | undefined;
    linkTo(page: string, text: string): string;
    tokenLine(ids: number[], vocabulary: Vocabulary, values: number[], maximum: number, tell: (token: number) => void): HTMLElement;
    named(ids: number[], at: number, vocabulary: Vocabulary): (Node | string)[];
    /** The sentence on tokens beyond the length of a row; empty without any. */
    leftOut(n: number): string;
    newest(work: () => Promise<void>): () => Promise<void>;
  };
  /** Puts a text into the field of a feature's page; there where there is one. */
  tryText?(text: string): void;

  marks: {
    all(): Map<number, Mark>;
    of(featureId: number): Mark;
    set(featureId: number, mark: Mark): void;
    /** as a labels file */
    exported(): string;
    /** takes in a labels file beside what is there; how many entries were taken, and how many were none */
    imported(text: string): { taken: number; left: number };
    /** of what went wrong when they were last kept; empty if nothing did */
    trouble(): string;
  };
}

interface Window {
  sitegen: Sitegen;
}
