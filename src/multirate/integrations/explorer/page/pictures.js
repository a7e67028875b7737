// Pictures as <canvas> elements, pixel by pixel.

/** Write values as pixels: gray or colour, the range of the data from black to white. */
export function toPixels(values, shape, [low, high]) {
  const [channels, height, width] = shape;
  const area = height * width;
  const pixels = new ImageData(width, height);
  const scale = 255 / (high - low);
  for (let at = 0; at < area; at += 1) {
    for (let c = 0; c < 3; c += 1) {
      // Clamped and rounded by the array's own type.
      pixels.data[4 * at + c] = (values[(channels === 3 ? c * area : 0) + at] - low) * scale;
    }
    pixels.data[4 * at + 3] = 255;
  }
  return pixels;
}

export class Picture {
  /**
   * @param {number[]} shape channels, height and width.
   * @param {string} description of what it shows, for readers who do not see it.
   */
  constructor(shape, description) {
    this.shape = shape;
    this.description = description;
    this.canvas = document.createElement("canvas");
    [, this.canvas.height, this.canvas.width] = shape;
    this.canvas.setAttribute("role", "img");
    this.canvas.className = shape[2] >= 64 ? "fine" : "";
    // Small and often written to: better kept in memory than on a graphics card.
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
    this.describe("");
  }

  /** Add to the description what is true of the picture now. */
  describe(more) {
    this.canvas.setAttribute("aria-label", more ? `${this.description}, ${more}` : this.description);
  }

  /** Draw values, one a channel and pixel. */
  draw(values, range) {
    this.context.putImageData(toPixels(values, this.shape, range), 0, 0);
    this.canvas.classList.remove("stale");
  }

  /** Draw a part of a larger image, from its left and top. */
  drawPart(image, left, top) {
    const [, height, width] = this.shape;
    this.context.drawImage(image, left, top, width, height, 0, 0, width, height);
    this.canvas.classList.remove("stale");
  }

  /** Say that the picture belongs to another beta than the page, until it is drawn again. */
  age() {
    this.canvas.classList.add("stale");
  }
}

/** Append a figure of one or two pictures, the second below the first, with a caption if there is one. */
export function addFigure(parent, pictures, caption = null) {
  const figure = document.createElement("figure");
  figure.className = "picture";
  figure.append(...pictures.map((picture) => picture.canvas));
  let text = null;
  if (caption !== null) {
    text = document.createElement("figcaption");
    text.textContent = caption;
    figure.append(text);
  }
  parent.append(figure);
  return text;
}
