// The rate of each latent, a bar each, which shrinks to nothing as the latent switches off.

import { decimals, niceTicks } from "./format.js";
import { add, onWidth } from "./svg.js";

const MARGIN = { left: 34, right: 4, top: 8, bottom: 20 };
const MOST = 256;

export class Bars {
  /**
   * @param {SVGSVGElement} svg to draw into.
   * @param {object} latents noun, threshold in nats, and rates: a row a step of the slider, a column a latent.
   * @param {(text: string) => void} say called with a sentence on what is on.
   */
  constructor(svg, latents, say) {
    this.svg = svg;
    this.latents = latents;
    this.say = say;
    this.index = 0;
    const count = latents.rates[0].length;
    const total = Array.from({ length: count }, (_, j) => latents.rates.reduce((sum, row) => sum + row[j], 0));
    this.busiest = total.map((_, j) => j).sort((a, b) => total[b] - total[a]);
    this.inPlace = total.map((_, j) => j);
    this.shown = new Set(this.busiest.slice(0, MOST));
    this.order = this.busiest;
    this.most = Math.max(...latents.rates.map((row) => Math.max(...row)), latents.threshold);
    onWidth(svg, (width) => this.draw(width));
  }

  /** Return how many latents are on at a step of the slider. */
  active(index) {
    return this.latents.rates[index].filter((rate) => rate > this.latents.threshold).length;
  }

  /** Show the latents at a step of the slider. */
  move(index) {
    this.index = index;
    const rates = this.latents.rates[index];
    const bottom = this.height - MARGIN.bottom;
    for (const [j, bar] of this.bars) {
      const on = rates[j] > this.latents.threshold;
      const height = on ? Math.max(2, (rates[j] / this.most) * (bottom - MARGIN.top)) : 2;
      bar.setAttribute("y", (bottom - height).toFixed(1));
      bar.setAttribute("height", height.toFixed(1));
      bar.setAttribute("class", on ? "bar on" : "bar off");
      bar.firstChild.textContent = `${this.latents.noun} ${j}: ${decimals(rates[j], 3)} nats`;
    }
    const { noun, threshold } = this.latents;
    const sentence = `${this.active(index)} of ${rates.length} ${noun}s carry more than ${threshold} nats`;
    this.svg.setAttribute("aria-label", `Rate of each ${noun}: ${sentence}; the busiest carries ${decimals(Math.max(...rates))}.`);
    this.say(sentence);
  }

  /** Put the latents in order of their rates along the whole curve, or in the model's. */
  sort(busiest) {
    this.order = busiest ? this.busiest : this.inPlace;
    this.draw(this.width);
  }

  draw(width) {
    this.width = width;
    this.height = Math.round(Math.min(130, Math.max(104, 0.27 * width)));
    this.svg.setAttribute("viewBox", `0 0 ${width} ${this.height}`);
    this.svg.setAttribute("height", this.height);
    this.svg.replaceChildren();
    const [right, bottom] = [width - MARGIN.right, this.height - MARGIN.bottom];
    for (const tick of niceTicks(0, this.most, 3)) {
      const y = bottom - (tick / this.most) * (bottom - MARGIN.top);
      add(this.svg, "path", { class: "grid", d: `M${MARGIN.left},${y}H${right}` });
      add(this.svg, "text", { x: MARGIN.left - 6, y: y + 4, "text-anchor": "end" }, tick);
    }
    const order = this.order.filter((j) => this.shown.has(j));
    const pitch = (right - MARGIN.left) / order.length;
    this.bars = order.map((j, place) => {
      const x = (MARGIN.left + (place + 0.12) * pitch).toFixed(2);
      const bar = add(this.svg, "rect", { x, width: (0.76 * pitch).toFixed(2), rx: Math.min(2, 0.2 * pitch).toFixed(2) });
      add(bar, "title");
      return [j, bar];
    });
    const kind = this.order === this.busiest ? "busiest first" : "in the model's order";
    const left = this.order.length > order.length ? `, the first ${order.length}` : "";
    add(this.svg, "text", { x: (MARGIN.left + right) / 2, y: this.height - 4, "text-anchor": "middle" }, `${this.latents.noun}s, ${kind}${left} (nats)`);
    this.move(this.index);
  }
}
