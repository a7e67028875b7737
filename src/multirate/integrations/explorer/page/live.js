// Pictures that the model makes in the page, at exactly the beta of the slider.

import { addFigure, Picture } from "./pictures.js";
import { decimals } from "./format.js";

/** Return the rows of a flat array at some indices, one after the other. */
function gather(values, size, indices) {
  const rows = new Float32Array(size * indices.length);
  indices.forEach((index, k) => rows.set(values.subarray(index * size, (index + 1) * size), k * size));
  return rows;
}

function range(count) {
  return Array.from({ length: count }, (_, k) => k);
}

/** What the three kinds of pictures have in common: items, what is known of each, and at which beta. */
class View {
  constructor(element, model, pictures, items, sheet, kind) {
    this.element = element;
    this.model = model;
    this.sheet = sheet;
    this.begin = sheet.begins[kind];
    this.shape = pictures.shape;
    this.size = pictures.shape.reduce((a, b) => a * b);
    this.range = pictures.range;
    this.items = items;
    this.known = [];
    this.made = [];
  }

  cost() {
    return this.model.cost.decode;
  }

  /** Return the items that are not known at a beta. */
  stale(beta) {
    return this.items.filter((item) => this.known[item]?.beta !== beta);
  }

  /** Put pictures that were made beforehand, at the nearest beta, in the place of those that are not known at this one. */
  age(beta) {
    this.stale(beta).forEach((item) => this.sheet.draw(this.made[item], this.begin + item, beta));
  }

  /** Make an empty picture of an item. */
  add(item, description) {
    this.made[item] = new Picture(this.shape, description);
    return this.made[item];
  }

  /** Keep what is known of an item, and draw it. */
  show(item, known) {
    this.known[item] = known;
    this.made[item].draw(known.picture, this.range);
  }

  /** Return the k-th of several pictures that lie one after the other. */
  part(pictures, k) {
    return pictures.subarray(k * this.size, (k + 1) * this.size);
  }
}

export class Reconstructions extends View {
  constructor(element, container, model, images, pictures, sheet) {
    super(element, model, pictures, range(pictures.examples), sheet, 0);
    this.images = images;
    this.captions = this.items.map((item) => {
      const original = new Picture(this.shape, `Test image ${item + 1}`);
      original.draw(this.part(images, item), this.range);
      return addFigure(container, [original, this.add(item, `Reconstruction of test image ${item + 1}`)], "");
    });
  }

  cost() {
    return this.model.cost.encode + this.model.cost.decode;
  }

  age(beta) {
    super.age(beta);
    this.stale(beta).forEach((item) => this.captions[item].classList.add("stale"));
  }

  async make(beta, asked) {
    const items = asked.filter((item) => this.known[item]?.beta !== beta);
    if (items.length === 0) {
      return;
    }
    const { latents } = this.model;
    const { mean, rate } = await this.model.encode(beta, gather(this.images, this.size, items), items.length);
    const pictures = await this.model.decode(beta, mean, items.length);
    items.forEach((item, k) => {
      const mine = mean.slice(k * latents, (k + 1) * latents);
      this.show(item, { beta, mean: mine, rate: rate[k], picture: this.part(pictures, k) });
      this.made[item].describe(`rate ${decimals(rate[k], 1)} nats`);
      this.captions[item].textContent = `${decimals(rate[k], 1)} nats`;
      this.captions[item].classList.remove("stale");
    });
  }

  /** Return what is known of some images at a beta, computing what is not. */
  async of(beta, items) {
    await this.make(beta, [...new Set(items)]);
    return items.map((item) => this.known[item]);
  }
}

export class Samples extends View {
  constructor(element, container, model, draws, pictures, sheet) {
    super(element, model, pictures, range(pictures.draws), sheet, 1);
    this.draws = draws;
    this.items.forEach((item) => addFigure(container, [this.add(item, `Draw ${item + 1} from the prior`)]));
  }

  async make(beta, items) {
    const pictures = await this.model.decode(beta, gather(this.draws, this.model.latents, items), items.length);
    items.forEach((item, k) => this.show(item, { beta, picture: this.part(pictures, k) }));
  }
}

export class Interpolation extends View {
  /**
   * @param {Reconstructions} ends whose images it goes between.
   * @param {() => number[]} chosen returns the two images.
   */
  constructor(element, container, model, ends, chosen, pictures, sheet) {
    super(element, model, pictures, range(pictures.between).map((item) => item + 1), sheet, 2);
    this.ends = ends;
    this.chosen = chosen;
    this.last = pictures.between + 1;
    this.generation = 0;
    range(this.last + 1).forEach((step) => {
      addFigure(container, [this.add(step, `Step ${step} of ${this.last} between two test images`)]);
    });
  }

  /** Forget all pictures: the ends are others. */
  forget() {
    this.known = [];
    this.generation += 1;
  }

  age(beta) {
    const [first, last] = this.chosen();
    const others = range(this.last + 1).filter((step) => this.known[step]?.beta !== beta);
    if (first === 0 && last === 1) {
      others.forEach((step) => this.sheet.draw(this.made[step], this.begin + step, beta));
    } else {
      others.forEach((step) => this.made[step].age());
    }
  }

  async make(beta, items) {
    const { generation } = this;
    const [first, last] = await this.ends.of(beta, this.chosen());
    const { latents } = this.model;
    const way = new Float32Array(latents * items.length);
    items.forEach((item, k) => {
      for (let j = 0; j < latents; j += 1) {
        way[k * latents + j] = first.mean[j] + (item / this.last) * (last.mean[j] - first.mean[j]);
      }
    });
    const pictures = await this.model.decode(beta, way, items.length);
    if (generation !== this.generation) {
      return; // the ends are others by now, and were asked for again
    }
    items.forEach((item, k) => this.show(item, { beta, picture: this.part(pictures, k) }));
    this.show(0, { beta, picture: first.picture });
    this.show(this.last, { beta, picture: last.picture });
  }
}
