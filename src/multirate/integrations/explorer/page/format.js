// Numbers as people read them.

const MINUS = "\u2212";

/** Write a number with so many decimals and a true minus sign. */
export function decimals(value, digits = 2) {
  const text = value.toFixed(digits);
  return Number(text) === 0 ? text.replace("-", "") : text.replace("-", MINUS);
}

/** Write nats in two decimals, or one where there are thousands of them. */
export function nats(value) {
  return decimals(value, Math.abs(value) < 1000 ? 2 : 1);
}

/** Write beta in three significant digits, without an exponent where it can be avoided. */
export function betaText(beta) {
  return String(Number(beta.toPrecision(3)));
}

/** Write a time in whole milliseconds, 1 at least. */
export function milliseconds(time) {
  return `${Math.max(1, Math.round(time))} ms`;
}

/** Write bytes in megabytes. */
export function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}

/** Return round numbers that divide an interval into about so many parts. */
export function niceTicks(low, high, parts = 5) {
  const rough = (high - low) / parts || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
  const ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k += 1) {
    ticks.push(Number((k * step).toPrecision(12)));
  }
  return ticks;
}

/** Write a tick of an axis as it is, with a true minus sign. */
export function tickText(tick) {
  return String(tick).replace("-", MINUS);
}

/** Return the powers of ten inside an interval; both ends where there are fewer than two. */
export function decades(low, high) {
  const found = [];
  for (let k = Math.ceil(Math.log10(low) - 1e-9); 10 ** k <= high * (1 + 1e-9); k += 1) {
    found.push(Number((10 ** k).toPrecision(6)));
  }
  return found.length > 1 ? found : [low, high];
}
