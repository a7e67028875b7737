// Drawing into an <svg> element in pixels of the page, again whenever its size changes.

const NAMESPACE = "http://www.w3.org/2000/svg";

/** Append an element of SVG with attributes, and text inside where it is given. */
export function add(parent, name, attributes = {}, text = null) {
  const element = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) {
    element.setAttribute(key, value);
  }
  if (text !== null) {
    element.textContent = text;
  }
  parent.append(element);
  return element;
}

/** Call draw(width) now and whenever the element's width has changed. */
export function onWidth(element, draw) {
  let known = 0;
  const check = () => {
    const width = Math.round(element.clientWidth);
    if (width > 0 && width !== known) {
      known = width;
      draw(width);
    }
  };
  new ResizeObserver(check).observe(element);
  check();
}
