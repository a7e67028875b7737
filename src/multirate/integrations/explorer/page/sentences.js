// Sentences that were written beforehand at some betas, and the nearest of them.

import { decimals } from "./format.js";
import { nearest } from "./sheet.js";

/** Return which words of a text are those of another, in order: their longest common subsequence. */
export function kept(words, other) {
  const lengths = Array.from({ length: words.length + 1 }, () => new Uint16Array(other.length + 1));
  for (let i = words.length - 1; i >= 0; i -= 1) {
    for (let j = other.length - 1; j >= 0; j -= 1) {
      lengths[i][j] = words[i] === other[j] ? lengths[i + 1][j + 1] + 1 : Math.max(lengths[i + 1][j], lengths[i][j + 1]);
    }
  }
  const marks = words.map(() => false);
  for (let i = 0, j = 0; i < words.length && j < other.length;) {
    if (words[i] === other[j]) {
      marks[i] = true;
      i += 1;
      j += 1;
    } else if (lengths[i + 1][j] >= lengths[i][j + 1]) {
      i += 1;
    } else {
      j += 1;
    }
  }
  return marks;
}

function paragraph(parent, kind, text) {
  const element = document.createElement("p");
  element.className = kind;
  element.textContent = text;
  parent.append(element);
  return element;
}

function addSentence(container, lead, kind) {
  const block = document.createElement("div");
  block.className = "sentence";
  const above = paragraph(block, kind, lead);
  container.append(block);
  return { above, written: paragraph(block, "written", "") };
}

export class Sentences {
  /**
   * @param {object} written betas; inputs; at each beta reconstructions, rates, samples and the way between the first two.
   * @param {HTMLElement[]} containers of reconstructions, samples and the way.
   */
  constructor(written, containers) {
    this.written = written;
    this.betas = written.betas;
    const [reconstructions, samples, way] = containers;
    this.inputs = written.inputs.map((text) => text.split(" "));
    this.reconstructions = written.inputs.map((text) => {
      const pair = addSentence(reconstructions, `${text} `, "original");
      pair.rate = document.createElement("small");
      pair.above.append(pair.rate);
      return pair;
    });
    this.samples = written.samples[0].map((_, k) => addSentence(samples, `${k + 1}`, "share").written);
    const last = written.way[0].length - 1;
    this.way = written.way[0].map((_, k) => addSentence(way, `${Math.round((100 * k) / last)}%`, "share").written);
  }

  /** Show the sentences of the nearest beta, and return it. */
  show(beta) {
    const at = nearest(this.betas, beta);
    const { reconstructions, rates, samples, way } = this.written;
    this.reconstructions.forEach((pair, k) => {
      const words = reconstructions[at][k].split(" ");
      const marks = kept(words, this.inputs[k]);
      pair.written.replaceChildren(...words.flatMap((word, w) => {
        const part = document.createElement(marks[w] ? "mark" : "span");
        part.textContent = word;
        return w ? [" ", part] : [part];
      }));
      pair.rate.textContent = `(${decimals(rates[at][k], 1)} nats)`;
    });
    this.samples.forEach((element, k) => {
      element.textContent = samples[at][k];
    });
    this.way.forEach((element, k) => {
      element.textContent = way[at][k];
    });
    return this.betas[at];
  }
}
