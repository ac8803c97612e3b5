/**
 * The model up to the hook point and the encoder, in plain JavaScript. It runs in a worker that is made from the source
 * text of this function, since a page opened from disk may not start a worker from a file; so the function uses nothing
 * from outside. sitegen/maths/transformer.py takes the same steps and compares them with the model of the sweep.
 *
 * Sums are in double precision. Attention only looks back, so after a change of the text everything computed for the
 * tokens before the change is kept.
 */
(() => {
  "use strict";

  /** @returns {Engine} */
  function makeEngine() {
    "use strict";

    // Number of strongest features kept for each token
    const PER_TOKEN = 12;

    /** @type {LiveSettings} */
    let settings;
    /** @type {Record<string, Matrix>} all weights except embeddings and encoder, by name */
    const weights = {};
    /** @type {Map<number, Matrix>} by file */
    const embedding = new Map();
    /** @type {Map<number, EncoderRows>} by file */
    const encoder = new Map();

    /** @type {Set<number>} ids that stand for no text */
    let special = new Set();
    /** @type {number[]} */
    let ids = [];
    /** @type {Float64Array[]} of each layer [seq_len, 3 d_model]: queries, keys, values */
    let attended = [];
    /** @type {Float64Array} [seq_len, d_hook] */
    let hooked;

    /** @param {string} text base64 */
    function bytesOf(text) {
      const binary = atob(text);
      const bytes = new Uint8Array(binary.length);
      for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
      return bytes.buffer;
    }

    /**
     * An array of a file: float32, or 16-bit integers with one scale per row.
     * @param {Record<string, string>} file
     * @param {string} name
     * @returns {Matrix}
     */
    function matrixOf(file, name) {
      const scale = file[`${name}.scale`];
      const bytes = bytesOf(file[name]);
      return scale
        ? { values: new Int16Array(bytes), scale: new Float32Array(bytesOf(scale)) }
        : { values: new Float32Array(bytes) };
    }

    /**
     * @param {Record<string, string>} file
     * @returns {EncoderRows}
     */
    function encoderOf(file) {
      const bias = matrixOf(file, "encoder.bias");
      const threshold = file["encoder.threshold"]
        ? matrixOf(file, "encoder.threshold")
        : { values: bias.values.map(() => 0) };
      return { weight: matrixOf(file, "encoder.weight"), bias, threshold };
    }

    /** @param {LiveSettings} given */
    function start(given) {
      settings = given;
      special = new Set(given.special_ids);
      hooked = new Float64Array(settings.seq_len * settings.d_hook);
    }

    /**
     * Adds the arrays of a file.
     * @param {string} kind
     * @param {number} number
     * @param {Record<string, string>} file
     */
    function take(kind, number, file) {
      if (kind === "embedding") embedding.set(number, matrixOf(file, "embedding"));
      else if (kind === "encoder") encoder.set(number, encoderOf(file));
      else for (const name of Object.keys(file)) if (!name.endsWith(".scale")) weights[name] = matrixOf(file, name);
    }

    /**
     * y = x W^T + b for the rows of x in [from, to). Four rows and two outputs are computed at once, so that each
     * number read from memory is used in several sums.
     * @param {Float64Array} x [rows, width]
     * @param {Matrix} weight [height, width]
     * @param {Matrix} bias [height]
     * @param {Float64Array} y [rows, height]
     * @param {number} from
     * @param {number} to
     */
    function product(x, weight, bias, y, from, to) {
      const { values, scale } = weight;
      const height = bias.values.length;
      const width = values.length / height;
      for (let o = 0; o < height; o += 2) {
        // With an odd number of outputs, the last is computed twice
        const pair = o + 1 < height ? 1 : 0;
        const first = o * width;
        const second = first + pair * width;
        const scaleA = scale ? scale[o] : 1;
        const scaleB = scale ? scale[o + pair] : 1;
        const biasA = bias.values[o];
        const biasB = bias.values[o + pair];
        let row = from;
        for (; row + 3 < to; row += 4) {
          const x0 = row * width;
          const x1 = x0 + width;
          const x2 = x1 + width;
          const x3 = x2 + width;
          // prettier-ignore
          let a0 = 0, a1 = 0, a2 = 0, a3 = 0, b0 = 0, b1 = 0, b2 = 0, b3 = 0;
          // prettier-ignore
          for (let i = 0; i < width; i++) {
            const a = values[first + i];
            const b = values[second + i];
            const v0 = x[x0 + i], v1 = x[x1 + i], v2 = x[x2 + i], v3 = x[x3 + i];
            a0 += a * v0; a1 += a * v1; a2 += a * v2; a3 += a * v3;
            b0 += b * v0; b1 += b * v1; b2 += b * v2; b3 += b * v3;
          }
          const at = row * height + o;
          y[at] = a0 * scaleA + biasA;
          y[at + height] = a1 * scaleA + biasA;
          y[at + 2 * height] = a2 * scaleA + biasA;
          y[at + 3 * height] = a3 * scaleA + biasA;
          y[at + pair] = b0 * scaleB + biasB;
          y[at + pair + height] = b1 * scaleB + biasB;
          y[at + pair + 2 * height] = b2 * scaleB + biasB;
          y[at + pair + 3 * height] = b3 * scaleB + biasB;
        }
        for (; row < to; row++) {
          y[row * height + o] = dot(x, row * width, values, first, width) * scaleA + biasA;
          y[row * height + o + pair] = dot(x, row * width, values, second, width) * scaleB + biasB;
        }
      }
    }

    /**
     * @param {Float64Array} x
     * @param {number} atX
     * @param {Int16Array | Float32Array | Float64Array} y
     * @param {number} atY
     * @param {number} width
     */
    function dot(x, atX, y, atY, width) {
      let sum = 0;
      for (let i = 0; i < width; i++) sum += x[atX + i] * y[atY + i];
      return sum;
    }

    /**
     * Layer norm without gain and bias of the rows in [from, to).
     * @param {Float64Array} x [rows, d_model]
     * @param {number} from
     * @param {number} to
     */
    function normed(x, from, to) {
      const width = settings.d_model;
      const y = new Float64Array(x.length);
      for (let row = from; row < to; row++) {
        const at = row * width;
        let mean = 0;
        let square = 0;
        for (let i = at; i < at + width; i++) mean += x[i] / width;
        for (let i = at; i < at + width; i++) square += (x[i] - mean) ** 2 / width;
        const deviation = Math.sqrt(square + settings.model.epsilon);
        for (let i = at; i < at + width; i++) y[i] = (x[i] - mean) / deviation;
      }
      return y;
    }

    /**
     * Causal attention: for each token and head, the weighted mean of the values up to the token.
     * @param {Float64Array} qkv [rows, 3 d_heads]
     * @param {number} from
     * @param {number} to
     */
    function mixed(qkv, from, to) {
      const { n_heads, score_scale } = settings.model;
      const stride = qkv.length / settings.seq_len;
      const width = stride / 3;
      const size = width / n_heads;
      const gathered = new Float64Array(to * width);
      const scores = new Float64Array(to);
      for (let head = 0; head < n_heads; head++) {
        for (let row = from; row < to; row++) {
          let most = -Infinity;
          for (let other = 0; other <= row; other++) {
            scores[other] =
              dot(qkv, row * stride + head * size, qkv, other * stride + width + head * size, size) / score_scale;
            most = Math.max(most, scores[other]);
          }
          let total = 0;
          for (let other = 0; other <= row; other++) total += scores[other] = Math.exp(scores[other] - most);
          const at = row * width + head * size;
          for (let other = 0; other <= row; other++) {
            const share = scores[other] / total;
            const value = other * stride + 2 * width + head * size;
            for (let i = 0; i < size; i++) gathered[at + i] += share * qkv[value + i];
          }
        }
      }
      return gathered;
    }

    /**
     * The error function, with an error below 1.5e-7. Source: Abramowitz and Stegun, 7.1.26.
     * @param {number} x
     */
    function erf(x) {
      const t = 1 / (1 + 0.3275911 * Math.abs(x));
      const series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
      return Math.sign(x) * (1 - series * Math.exp(-x * x));
    }

    /** @type {Record<string, (x: number) => number>} */
    const activations = {
      gelu: (x) => (x * (1 + erf(x * Math.SQRT1_2))) / 2,
      gelu_new: (x) => (x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))) / 2,
      relu: (x) => Math.max(x, 0),
      silu: (x) => x / (1 + Math.exp(-x)),
    };

    /**
     * Runs the model over a text. Tokens at the beginning that the former text shares are not computed again.
     * @param {number[]} text
     */
    function read(text) {
      let from = 0;
      while (from < ids.length && ids[from] === text[from]) from++;
      from = Math.min(from, text.length);
      const to = text.length;
      if (!to) {
        // An empty text on a site whose rows begin without BOS
        ids = [];
        return;
      }
      const { n_layers, hook } = settings.model;
      const { d_model } = settings;
      // Cleared until all is done, so that an error leaves no half-computed text behind
      ids = [];
      /** @type {Float64Array} */
      const residual = new Float64Array(to * d_model);
      for (let row = from; row < to; row++) {
        const rows = embedding.get(Math.floor(text[row] / settings.tokens_per_file));
        if (!rows) throw new Error(`the embedding of token ${text[row]} is not loaded`);
        addRow(residual, row, rows, text[row] % settings.tokens_per_file);
        addRow(residual, row, weights.positions, row);
      }
      for (let layer = 0; layer < n_layers; layer++) {
        const found = through(layer, residual, from, to, layer === n_layers - 1 ? hook : "");
        if (found) hooked.set(found.subarray(from * settings.d_hook, to * settings.d_hook), from * settings.d_hook);
      }
      for (let row = from; row < to; row++)
        normalise(hooked.subarray(row * settings.d_hook, (row + 1) * settings.d_hook));
      ids = [...text];
    }

    /**
     * The normalisation of the autoencoder's input. Twin: sitegen/maths/normalisation.py.
     * @param {Float64Array} x of one token
     */
    function normalise(x) {
      const { normalisation } = settings;
      if (normalisation === "none") return;
      const mean = normalisation === "layer_norm" ? x.reduce((sum, value) => sum + value, 0) / x.length : 0;
      const squares = x.reduce((sum, value) => sum + (value - mean) ** 2, 0);
      const scale =
        normalisation === "layer_norm"
          ? Math.sqrt(squares / (x.length - 1)) + 1e-5
          : Math.sqrt(squares / x.length) || 1;
      for (let i = 0; i < x.length; i++) x[i] = (x[i] - mean) / scale;
    }

    /**
     * Adds a row of a matrix to a row of the residual stream.
     * @param {Float64Array} residual
     * @param {number} row
     * @param {Matrix} matrix
     * @param {number} from
     */
    function addRow(residual, row, { values, scale }, from) {
      const { d_model } = settings;
      const one = scale ? scale[from] : 1;
      for (let i = 0; i < d_model; i++) residual[row * d_model + i] += one * values[from * d_model + i];
    }

    /**
     * Runs a layer: adds its output to the residual stream, or returns the activations at the hook point in it.
     * @param {number} layer
     * @param {Float64Array} residual
     * @param {number} from
     * @param {number} to
     * @param {string} hook where the model ends; empty if that is in a later layer
     */
    function through(layer, residual, from, to, hook) {
      if (hook === "resid_pre") return residual;
      /** @param {string} name @param {Float64Array} x */
      const linear = (name, x) => {
        const bias = weights[`layers.${layer}.${name}.bias`];
        const y = new Float64Array(to * bias.values.length);
        product(x, weights[`layers.${layer}.${name}.weight`], bias, y, from, to);
        return y;
      };
      const qkv = linear("qkv", normed(residual, from, to));
      const width = qkv.length / to;
      attended[layer] ??= new Float64Array(settings.seq_len * width);
      attended[layer].set(qkv.subarray(from * width), from * width);
      let written = linear("attention_out", mixed(attended[layer], from, to));
      if (hook === "attn_out") return written;
      add(residual, written);
      if (hook === "resid_mid") return residual;
      const input = normed(residual, from, to);
      if (hook === "mlp_norm") return input;
      const hidden = linear("mlp_in", input);
      const activation = activations[settings.model.activation];
      for (let i = (hidden.length / to) * from; i < hidden.length; i++) hidden[i] = activation(hidden[i]);
      if (hook === "mlp_post") return hidden;
      written = linear("mlp_out", hidden);
      if (hook === "mlp_out") return written;
      add(residual, written);
      return hook ? residual : null;
    }

    /**
     * @param {Float64Array} sum
     * @param {Float64Array} more
     */
    function add(sum, more) {
      for (let i = 0; i < sum.length; i++) sum[i] += more[i];
    }

    /**
     * Pre-activations of the features of a file on the text.
     * @param {number} number
     */
    function encoded(number) {
      const part = encoder.get(number);
      if (!part) throw new Error(`encoder file ${number} is not loaded`);
      const n = part.bias.values.length;
      const found = new Float64Array(ids.length * n);
      product(hooked, part.weight, part.bias, found, 0, ids.length);
      return { found, n, thresholds: part.threshold.values };
    }

    /**
     * Activations of one feature on each token of the text.
     * @param {number} index
     */
    function feature(index) {
      const { features_per_file, d_hook } = settings;
      const part = encoder.get(Math.floor(index / features_per_file));
      if (!part) throw new Error(`the encoder of feature ${index} is not loaded`);
      const at = index % features_per_file;
      const { values, scale } = part.weight;
      return ids.map((_, token) => {
        const sum = dot(hooked, token * d_hook, values, at * d_hook, d_hook) * (scale ? scale[at] : 1);
        const value = sum + part.bias.values[at];
        return value > part.threshold.values[at] ? value : 0;
      });
    }

    /** @type {[number, number][][]} for each token [feature index, activation], largest first */
    let strongest = [];
    /** @type {[number, number, number][]} [feature index, largest activation, its token] of features active on text */
    let active = [];

    function clear() {
      strongest = ids.map(() => []);
      active = [];
    }

    /**
     * Adds the features of some files to the results.
     * @param {number[]} numbers
     */
    function scan(numbers) {
      const isText = ids.map((id) => !special.has(id));
      for (const number of numbers) {
        const { found, n, thresholds } = encoded(number);
        for (let i = 0; i < n; i++) {
          const index = number * settings.features_per_file + i;
          let most = 0;
          let where = 0;
          for (let token = 0; token < ids.length; token++) {
            const value = found[token * n + i];
            if (value <= thresholds[i]) continue;
            keep(strongest[token], index, value);
            // As in the sweep, special tokens do not count in a maximum
            if (isText[token] && value > most) [most, where] = [value, token];
          }
          if (most > 0) active.push([index, most, where]);
        }
      }
    }

    /**
     * Inserts a feature into the list of a token's strongest features.
     * @param {[number, number][]} list
     * @param {number} index
     * @param {number} value
     */
    function keep(list, index, value) {
      if (list.length === PER_TOKEN && value <= list[PER_TOKEN - 1][1]) return;
      let at = list.length;
      while (at > 0 && list[at - 1][1] < value) at--;
      list.splice(at, 0, [index, value]);
      if (list.length > PER_TOKEN) list.pop();
    }

    const results = () => ({ strongest, active });

    return { start, take, read, feature, clear, scan, results };
  }

  Object.assign(window.sitegen, { makeEngine });
})();
