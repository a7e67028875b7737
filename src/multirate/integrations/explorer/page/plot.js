// The rate-distortion curve, and the point on it that can be dragged.

import { betaText, decades, decimals, niceTicks, tickText } from "./format.js";
import { add, onWidth } from "./svg.js";

const MARGIN = { right: 14, top: 10, bottom: 38 };

export class Plot {
  /**
   * @param {SVGSVGElement} svg to draw into.
   * @param {object} steps lists beta, rate and distortion along the slider.
   * @param {object[]} points that were measured.
   * @param {object[]} baselines curves of dedicated models, each a label and points.
   * @param {(index: number, since: number) => void} pick called where the point is dragged to.
   */
  constructor(svg, steps, points, baselines, pick) {
    this.svg = svg;
    this.steps = steps;
    this.points = points;
    this.baselines = baselines;
    this.pick = pick;
    this.index = 0;
    const dedicated = baselines.flatMap((baseline) => baseline.points);
    const rates = [...steps.rate, ...points.map((p) => p.rate), ...dedicated.map((p) => p.rate)];
    const distortions = [...steps.distortion, ...points.map((p) => p.distortion), ...dedicated.map((p) => p.distortion)];
    const room = 0.05 * (Math.max(...distortions) - Math.min(...distortions)) || 1;
    this.rates = [0, 1.03 * Math.max(...rates)];
    this.distortions = [Math.min(...distortions) - room, Math.max(...distortions) + room];
    // Room for the axis's name and its longest number.
    this.left = 26 + 7 * Math.max(...niceTicks(...this.distortions).map((tick) => tickText(tick).length));
    onWidth(svg, (width) => this.draw(width));
    this.listen();
  }

  /** Move the point to a step of the slider. */
  move(index) {
    this.index = index;
    const [x, y] = this.place(this.steps.rate[index], this.steps.distortion[index]);
    for (const circle of this.handle) {
      circle.setAttribute("cx", x);
      circle.setAttribute("cy", y);
    }
    this.guide.setAttribute("d", `M${this.left},${y}H${x}V${this.height - MARGIN.bottom}`);
    const [rate, distortion] = [decimals(this.steps.rate[index]), decimals(this.steps.distortion[index])];
    const ends = [0, this.steps.beta.length - 1].map((at) => (
      `rate ${decimals(this.steps.rate[at], 1)}, distortion ${decimals(this.steps.distortion[at], 1)} `
      + `at beta ${betaText(this.steps.beta[at])}`
    ));
    this.svg.setAttribute("aria-label", "Rate-distortion curve, in nats an example: distortion falls as the rate grows, "
      + `from ${ends[1]} to ${ends[0]}. The point is at beta ${betaText(this.steps.beta[index])}: rate ${rate}, `
      + `distortion ${distortion}.`);
  }

  draw(width) {
    this.width = width;
    this.height = Math.round(Math.min(250, Math.max(190, 0.56 * width)));
    this.svg.setAttribute("viewBox", `0 0 ${width} ${this.height}`);
    this.svg.setAttribute("height", this.height);
    this.svg.replaceChildren();
    this.drawAxes();
    this.drawCurve();
    this.guide = add(this.svg, "path", { class: "guide", fill: "none" });
    this.plane = add(this.svg, "rect", { class: "plane", width, height: this.height });
    this.handle = [["halo", 13], ["point", 8], ["hit", 24]].map(([kind, r]) => add(this.svg, "circle", { class: kind, r }));
    this.move(this.index);
  }

  drawAxes() {
    const bottom = this.height - MARGIN.bottom;
    for (const rate of niceTicks(...this.rates)) {
      const [x] = this.place(rate, 0);
      add(this.svg, "path", { class: "grid", d: `M${x},${MARGIN.top}V${bottom}` });
      add(this.svg, "text", { x, y: bottom + 16, "text-anchor": "middle" }, tickText(rate));
    }
    for (const distortion of niceTicks(...this.distortions)) {
      const [, y] = this.place(0, distortion);
      add(this.svg, "path", { class: "grid", d: `M${this.left},${y}H${this.width - MARGIN.right}` });
      add(this.svg, "text", { x: this.left - 6, y: y + 4, "text-anchor": "end" }, tickText(distortion));
    }
    add(this.svg, "path", { class: "axis", fill: "none", d: `M${this.left},${MARGIN.top}V${bottom}H${this.width - MARGIN.right}` });
    const middle = (this.left + this.width - MARGIN.right) / 2;
    add(this.svg, "text", { x: middle, y: this.height - 4, "text-anchor": "middle" }, "rate (nats)");
    const turned = `translate(11 ${(MARGIN.top + bottom) / 2}) rotate(-90)`;
    add(this.svg, "text", { transform: turned, "text-anchor": "middle" }, "distortion (nats)");
  }

  drawCurve() {
    const { beta, rate, distortion } = this.steps;
    const path = rate.map((value, k) => this.place(value, distortion[k]).map((v) => v.toFixed(1)).join(","));
    add(this.svg, "path", { class: "line", d: `M${path.join("L")}` });
    for (const p of this.points) {
      const [cx, cy] = this.place(p.rate, p.distortion);
      add(this.svg, "circle", { class: "measured", cx, cy, r: 3 });
    }
    for (const p of this.baselines.flatMap((baseline) => baseline.points)) {
      const [x, y] = this.place(p.rate, p.distortion);
      add(this.svg, "path", { class: "dedicated", d: `M${x},${y - 5}L${x + 5},${y}L${x},${y + 5}L${x - 5},${y}Z` });
    }
    for (const value of decades(beta[0], beta.at(-1))) {
      const at = beta.reduce((best, b, k) => (Math.abs(b / value - 1) < Math.abs(beta[best] / value - 1) ? k : best), 0);
      const [x, y] = this.place(rate[at], distortion[at]);
      const near = x > this.width - MARGIN.right - 46;
      add(this.svg, "text", { class: "label", x: x + (near ? 6 : 9), y: y - 8, "text-anchor": near ? "end" : "start" }, `β ${value}`);
    }
    this.drawLegend();
  }

  drawLegend() {
    if (this.baselines.length === 0) {
      return;
    }
    const x = this.width - MARGIN.right - 132;
    add(this.svg, "path", { class: "line", d: `M${x - 8},${MARGIN.top + 8}h16` });
    add(this.svg, "text", { x: x + 15, y: MARGIN.top + 12 }, "this one model");
    const y = MARGIN.top + 26;
    add(this.svg, "path", { class: "dedicated", d: `M${x},${y - 5}L${x + 5},${y}L${x},${y + 5}L${x - 5},${y}Z` });
    add(this.svg, "text", { x: x + 15, y: y + 4 }, "dedicated models");
  }

  /** Return where a rate and a distortion lie, in pixels. */
  place(rate, distortion) {
    const [right, bottom] = [this.width - MARGIN.right, this.height - MARGIN.bottom];
    const across = (rate - this.rates[0]) / (this.rates[1] - this.rates[0]);
    const up = (distortion - this.distortions[0]) / (this.distortions[1] - this.distortions[0]);
    return [this.left + across * (right - this.left), bottom - up * (bottom - MARGIN.top)];
  }

  /** Return the step of the slider that is nearest to a place in pixels. */
  nearest(x, y) {
    let [best, least] = [0, Infinity];
    this.steps.rate.forEach((rate, k) => {
      const [px, py] = this.place(rate, this.steps.distortion[k]);
      const distance = (px - x) ** 2 + (py - y) ** 2;
      if (distance < least) {
        [best, least] = [k, distance];
      }
    });
    return best;
  }

  listen() {
    let dragging = null;
    const follow = (event) => {
      const box = this.svg.getBoundingClientRect();
      const scale = this.width / box.width;
      this.pick(this.nearest((event.clientX - box.left) * scale, (event.clientY - box.top) * scale), event.timeStamp);
    };
    this.svg.addEventListener("pointerdown", (event) => {
      if (event.button === 0) {
        dragging = event.pointerId;
        this.svg.setPointerCapture(dragging);
        follow(event);
        event.preventDefault();
      }
    });
    this.svg.addEventListener("pointermove", (event) => {
      if (event.pointerId === dragging) {
        follow(event);
      }
    });
    for (const end of ["pointerup", "pointercancel"]) {
      this.svg.addEventListener(end, () => {
        dragging = null;
      });
    }
  }
}
