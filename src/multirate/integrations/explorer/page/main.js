// The page: one number, beta, and everything that follows from it.

import { Bars } from "./bars.js";
import { betaText, decades, megabytes, milliseconds, nats } from "./format.js";
import { Interpolation, Reconstructions, Samples } from "./live.js";
import { Model } from "./model.js";
import { Plot } from "./plot.js";
import { Redraw } from "./redraw.js";
import { Sentences } from "./sentences.js";
import { Sheet, SheetPage } from "./sheet.js";
import { themeButton } from "./theme.js";

const SECTIONS = ["reconstructions", "samples", "interpolation"];
// Milliseconds without a move after which the page speaks and the address is kept.
const REST = 500;

/** The page's parts, for whoever wants to look at their numbers; moved is called with the milliseconds of each move. */
export const explorer = { content: null, index: 0, views: null, timing: null, ready: false, moved: null };

const element = (id) => document.getElementById(id);

async function fetched(address) {
  const response = await fetch(address);
  if (!response.ok) {
    throw new Error(`${address}: the server answered ${response.status}`);
  }
  return response;
}

async function floats(address) {
  return new Float32Array(await (await fetched(address)).arrayBuffer());
}

function say(text, failed = false) {
  element("status").textContent = text;
  element("status").hidden = text === "";
  element("status").classList.toggle("error", failed);
}

class Page {
  constructor(content, curve) {
    this.content = content;
    this.steps = content.steps;
    this.pictures = null;
    this.resting = null;
    this.frame = null;
    this.fillIn();
    this.plot = new Plot(element("curve"), this.steps, curve.points, content.baselines, (index, since) => this.ask(index, since));
    if (content.latents === null) {
      element("latents-card").hidden = true;
    } else {
      this.bars = new Bars(element("latents"), content.latents, (text) => {
        element("latents-caption").textContent = `${text}. ${content.latents.measured}`;
      });
      element("sorted").addEventListener("change", (event) => this.bars.sort(event.target.checked));
    }
    this.listen();
  }

  fillIn() {
    const { content, steps } = this;
    document.title = `${content.title} \u2013 multirate explorer`;
    element("title").textContent = content.title;
    element("subtitle").textContent = content.subtitle;
    element("made").textContent = content.made;
    element("curve-caption").textContent = content.baselines.length > 0
      ? "Dots: measured. Diamonds: models trained for one β each." : "Dots: measured.";
    for (const note of content.notes) {
      const paragraph = document.createElement("p");
      paragraph.textContent = note;
      element("notices").append(paragraph);
    }
    if (content.latents !== null) {
      element("latents-title").textContent = `${content.latents.noun[0].toUpperCase()}${content.latents.noun.slice(1)}s`;
    }
    const last = steps.beta.length - 1;
    element("beta").max = last;
    const [low, high] = [Math.log(steps.beta[0]), Math.log(steps.beta[last])];
    for (const value of decades(steps.beta[0], steps.beta[last])) {
      const tick = document.createElement("span");
      tick.textContent = betaText(value);
      tick.style.left = `${(100 * (Math.log(value) - low)) / (high - low)}%`;
      element("ticks").append(tick);
    }
  }

  listen() {
    element("beta").addEventListener("input", (event) => this.ask(Number(event.target.value), event.timeStamp));
    element("best").addEventListener("click", (event) => this.ask(this.content.best, event.timeStamp));
    window.addEventListener("hashchange", () => {
      if (location.hash.startsWith("#beta=")) {
        this.ask(this.fromAddress(), performance.now());
      }
    });
  }

  /** Return the step that the address names as #beta=..., else that of the best ELBO. */
  fromAddress() {
    const asked = Number(/^#beta=([0-9.e+-]+)$/.exec(location.hash)?.[1]);
    if (!(asked > 0)) {
      return this.content.best;
    }
    const away = this.steps.beta.map((beta) => Math.abs(Math.log(beta / asked)));
    return away.indexOf(Math.min(...away));
  }

  /** Move to a step before the next frame; of several moves in one frame the last counts. */
  ask(index, since) {
    if (this.frame === null) {
      this.frame = requestAnimationFrame(() => {
        const asked = this.asked;
        this.frame = null;
        this.move(asked.index, asked.since);
      });
    }
    this.asked = { index, since };
  }

  /** Show a step: its numbers, the point, the latents at once; then the pictures. */
  move(index, since) {
    explorer.index = index;
    const { beta, rate, distortion, elbo } = this.steps;
    const slider = element("beta");
    slider.value = index;
    slider.setAttribute("aria-valuetext", `beta ${betaText(beta[index])}`);
    element("beta-value").textContent = betaText(beta[index]);
    element("rate").textContent = nats(rate[index]);
    element("distortion").textContent = nats(distortion[index]);
    element("elbo").textContent = nats(elbo[index]);
    this.plot.move(index);
    this.bars?.move(index);
    this.pictures?.(beta[index], since);
    explorer.moved?.(performance.now() - since);
    clearTimeout(this.resting);
    this.resting = setTimeout(() => this.rest(index), REST);
  }

  /** Say where the page is, once it stays there. */
  rest(index) {
    const { beta, rate, distortion, elbo } = this.steps;
    const latents = this.bars === undefined ? "" : ` ${element("latents-caption").textContent.split(". ")[0]}.`;
    element("summary").textContent = `Beta ${betaText(beta[index])}: rate ${nats(rate[index])}, distortion `
      + `${nats(distortion[index])}, ELBO ${nats(elbo[index])} nats an example.${latents}`;
    history.replaceState(null, "", `#beta=${betaText(beta[index])}`);
  }

  /** Start to show pictures, with a function of beta and of the moment of the move. */
  show(pictures) {
    this.pictures = pictures;
    pictures(this.steps.beta[explorer.index], performance.now());
  }
}

function notes(texts) {
  SECTIONS.forEach((section, k) => {
    element(`${section}-note`).textContent = texts[k];
  });
}

function containers(kind) {
  return SECTIONS.map((section) => {
    element(`${section}-items`).classList.add(kind);
    return element(`${section}-items`);
  });
}

function chooseEnds(count, changed) {
  for (const [id, start] of [["from", 0], ["to", 1]]) {
    for (let item = 0; item < count; item += 1) {
      element(id).add(new Option(`image ${item + 1}`, item, item === start, item === start));
    }
    element(id).addEventListener("change", changed);
  }
  return () => [Number(element("from").value), Number(element("to").value)];
}

async function showLive(page, content) {
  const { pictures, model: files } = content;
  say(`Loading the model and its runtime, ${megabytes(files.bytes)} \u2026`);
  const model = new Model(files, pictures.latents);
  const [images, draws, sheet] = await Promise.all([floats("images.bin"), floats("draws.bin"), loadSheet(content), model.open()]);
  notes([
    "Above the test image; below what the model makes of its posterior's mean, and the image's rate.",
    "The same latents at every β, drawn once from the prior.",
    "Along the straight line between the posterior means of two test images.",
  ]);
  const [top, middle, bottom] = containers("pictures");
  const redraw = { request: () => {} };
  const again = () => {
    way.forget();
    redraw.request(page.steps.beta[explorer.index], performance.now());
  };
  const chosen = chooseEnds(pictures.examples, again);
  const made = new Reconstructions(element("reconstructions"), top, model, images, pictures, sheet);
  const samples = new Samples(element("samples"), middle, model, draws, pictures, sheet);
  const way = new Interpolation(element("interpolation"), bottom, model, made, chosen, pictures, sheet);
  const scheduler = new Redraw([made, samples, way], (report) => {
    if (report.error) {
      say(`The model stopped: ${report.error.message}. Reload the page.`, true);
      return;
    }
    explorer.timing = report;
    const [near, exact] = [report.near, report.exact].map(milliseconds);
    if (report.pictures > 0) {
      element("timing").textContent = `Last move: point, latents and pictures of a near β after ${near}, `
        + `the ${report.pictures} pictures of exactly this β after ${exact}.`;
    }
  });
  redraw.request = (beta, since) => scheduler.request(beta, since);
  explorer.views = { reconstructions: made, samples, interpolation: way };
  say("");
  page.show(redraw.request);
}

async function loadSheet({ sheet, pictures }) {
  const picture = await (await fetched(sheet.file)).blob();
  return new Sheet(await createImageBitmap(picture), sheet.betas, pictures);
}

async function showSheet(page, content) {
  const { pictures } = content;
  const [images, sheet] = await Promise.all([floats("images.bin"), loadSheet(content)]);
  element("ends").hidden = true;
  const made = new SheetPage(sheet, images, pictures, containers("pictures"));
  showNearest(page, made, [
    "Above the test image, below what the model makes of its posterior's mean.",
    "The same latents at every β, drawn once from the prior.",
    "Along the straight line between the posterior means of the first two test images.",
  ]);
}

function showSentences(page, content) {
  element("ends").hidden = true;
  showNearest(page, new Sentences(content.sentences, containers("sentences")), [
    "Above the sentence of the data, below what the model writes from its posterior's mean; words that it kept stand out.",
    "The same latents at every β, drawn once from the prior.",
    "Along the straight line between the posterior means of the first two sentences.",
  ]);
}

/** Show what was made beforehand: at each move that of the nearest beta, which the page names. */
function showNearest(page, made, texts) {
  notes(texts);
  element("nearest").hidden = false;
  explorer.views = made;
  page.show((beta, since) => {
    const shown = betaText(made.show(beta));
    element("nearest").textContent = `Made beforehand at ${made.betas.length} β; shown is the nearest, β = ${shown}.`;
    const near = performance.now() - since;
    explorer.timing = { beta, near };
    element("timing").textContent = `Last move: all after ${milliseconds(near)}.`;
  });
}

async function start() {
  say("Loading \u2026");
  const [content, curve] = await Promise.all(["explorer.json", "curve.json"].map((name) => fetched(name).then((r) => r.json())));
  explorer.content = content;
  element("main").hidden = false;
  const page = new Page(content, curve);
  page.move(page.fromAddress(), performance.now());
  if (content.kind === "live") {
    await showLive(page, content);
  } else if (content.kind === "sheet") {
    await showSheet(page, content);
  } else if (content.kind === "sentences") {
    showSentences(page, content);
  } else {
    element("content").hidden = true;
    element("skip").hidden = true;
  }
  if (content.kind !== "live") {
    say("");
  }
  explorer.ready = true;
}

themeButton(element("theme"));
start().catch((error) => say(`The explorer cannot go on: ${error.message}`, true));
