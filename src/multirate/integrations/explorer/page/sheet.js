// Pictures that were made beforehand at some betas, and the nearest of them.

import { addFigure, Picture } from "./pictures.js";

/** Return which of some betas is nearest to one, on a logarithmic axis. */
export function nearest(betas, beta) {
  return betas.reduce((best, b, k) => (Math.abs(Math.log(b / beta)) < Math.abs(Math.log(betas[best] / beta)) ? k : best), 0);
}

export class Sheet {
  /**
   * @param {ImageBitmap} image a row a beta; in each row reconstructions, draws and the way between the first two images.
   * @param {number[]} betas of the rows.
   * @param {object} pictures numbers of pictures.
   */
  constructor(image, betas, pictures) {
    this.image = image;
    this.betas = betas;
    // The columns at which reconstructions, draws and the way begin.
    this.begins = [0, pictures.examples, pictures.examples + pictures.draws];
  }

  /** Draw the picture of a column at the nearest beta. */
  draw(picture, column, beta) {
    const [, height, width] = picture.shape;
    picture.drawPart(this.image, column * width, nearest(this.betas, beta) * height);
  }
}

/** A page of nothing but a sheet. */
export class SheetPage {
  /**
   * @param {Sheet} sheet with all pictures.
   * @param {Float32Array} images the originals, one after the other.
   * @param {object} pictures shape, range and numbers of pictures.
   * @param {HTMLElement[]} containers of the three kinds.
   */
  constructor(sheet, images, pictures, containers) {
    this.sheet = sheet;
    this.betas = sheet.betas;
    this.shape = pictures.shape;
    this.made = [];
    const size = pictures.shape.reduce((a, b) => a * b);
    const [reconstructions, samples, way] = containers;
    for (let item = 0; item < pictures.examples; item += 1) {
      const original = new Picture(pictures.shape, `Test image ${item + 1}`);
      original.draw(images.subarray(item * size, (item + 1) * size), pictures.range);
      addFigure(reconstructions, [original, this.add(`Reconstruction of test image ${item + 1}`)]);
    }
    for (let item = 0; item < pictures.draws; item += 1) {
      addFigure(samples, [this.add(`Draw ${item + 1} from the prior`)]);
    }
    for (let step = 0; step <= pictures.between + 1; step += 1) {
      addFigure(way, [this.add(`Step ${step} of ${pictures.between + 1} between two test images`)]);
    }
  }

  add(description) {
    const picture = new Picture(this.shape, description);
    this.made.push(picture);
    return picture;
  }

  /** Draw the pictures of the nearest beta, and return it. */
  show(beta) {
    this.made.forEach((picture, column) => this.sheet.draw(picture, column, beta));
    return this.betas[nearest(this.betas, beta)];
  }
}
