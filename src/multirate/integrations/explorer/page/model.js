// The model itself: encodes and decodes at any beta, in a worker.

export class Model {
  /**
   * @param {object} files address of the runtime; of encoder and decoder address, input and shape of one example.
   * @param {number} latents how many there are.
   */
  constructor(files, latents) {
    this.files = files;
    this.latents = latents;
    this.waiting = new Map();
    this.sent = 0;
    // Milliseconds an example, which tell how many to ask for at once.
    this.cost = { encode: 5, decode: 5 };
    this.worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    this.worker.addEventListener("message", ({ data }) => this.settle(data));
    this.worker.addEventListener("error", (event) => this.fail(event.message || "the worker cannot be started"));
  }

  open() {
    return this.ask({ what: "open", ...this.files });
  }

  /** Return posterior means, [rows, latents], and rates in nats, [rows], of images, [rows, channels, height, width]. */
  async encode(beta, images, rows) {
    return this.timed({ what: "encode", wanted: ["mean", "rate"], beta, values: images }, this.files.encoder, rows);
  }

  /** Return pictures, [rows, channels, height, width], of latents, [rows, latents]. */
  async decode(beta, latents, rows) {
    const request = { what: "decode", wanted: ["mean"], beta, values: latents };
    return (await this.timed(request, this.files.decoder, rows)).mean;
  }

  async timed(request, { input, shape }, rows) {
    const { outputs, milliseconds } = await this.ask({ ...request, input, shape: [rows, ...shape] });
    this.cost[request.what] = 0.6 * this.cost[request.what] + 0.4 * (milliseconds / rows);
    return outputs;
  }

  ask(request) {
    this.sent += 1;
    const id = this.sent;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, ...request });
    });
  }

  settle({ id, error, ...answer }) {
    const { resolve, reject } = this.waiting.get(id);
    this.waiting.delete(id);
    if (error === undefined) {
      resolve(answer);
    } else {
      reject(new Error(error));
    }
  }

  fail(reason) {
    for (const { reject } of this.waiting.values()) {
      reject(new Error(reason));
    }
    this.waiting.clear();
  }
}
