// Which pictures to make when: what is seen first, a few at a time, and nothing for a beta that has been left.

// A beta that has been left is still given so many milliseconds, so that a drag shows pictures all along.
const PATIENCE = 40;
// Milliseconds of work to ask for at once.
const PIECE = 16;

export class Redraw {
  /**
   * @param {object[]} views each with element, items, cost() in milliseconds an item, and of the items at a beta
   *   stale(beta), age(beta) and async make(beta, items).
   * @param {(report: object) => void} report called after each beta that was finished, and with an error.
   */
  constructor(views, report) {
    this.views = views;
    this.report = report;
    this.wanted = null;
    this.busy = false;
    this.seen = new Set(views);
    const watcher = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        const view = views.find(({ element }) => element === entry.target);
        this.seen[entry.isIntersecting ? "add" : "delete"](view);
      }
    }, { rootMargin: "100px" });
    views.forEach(({ element }) => watcher.observe(element));
  }

  /** Ask for all pictures at a beta, as of a moment of performance.now(); the latest request wins. */
  request(beta, since) {
    this.views.forEach((view) => view.age(beta));
    this.wanted = { beta, since, near: performance.now() - since };
    if (!this.busy) {
      this.work();
    }
  }

  async work() {
    this.busy = true;
    while (this.wanted !== null) {
      const current = this.wanted;
      this.wanted = null;
      try {
        await this.make(current);
      } catch (error) {
        this.report({ error });
        break;
      }
    }
    this.busy = false;
  }

  async make({ beta, since, near }) {
    const started = performance.now();
    let pictures = 0;
    for (const [view, items] of this.pieces(beta)) {
      if (this.wanted !== null && performance.now() - started > PATIENCE) {
        return;
      }
      await view.make(beta, items);
      pictures += items.length;
      if (this.wanted !== null) {
        view.age(this.wanted.beta);
      }
    }
    this.report({ beta, near, exact: performance.now() - since, pictures });
  }

  /** Yield pieces of work at a beta: views that are seen in turns, then the others. */
  * pieces(beta) {
    for (const group of [this.views.filter((v) => this.seen.has(v)), this.views.filter((v) => !this.seen.has(v))]) {
      const left = group.map((view) => ({ view, items: view.stale(beta) }));
      while (left.some(({ items }) => items.length > 0)) {
        for (const { view, items } of left) {
          const many = Math.max(1, Math.floor(PIECE / view.cost()));
          if (items.length > 0) {
            yield [view, items.splice(0, many)];
          }
        }
      }
    }
  }
}
