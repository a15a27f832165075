// From an image to the pixels that the network was trained to see. The arithmetic is that of Pillow's resize(), which
// dropkd uses: a triangle as wide as what shrinks, weights of 22 bits, whole numbers between the two passes. The same
// pixels in give the same bytes out; where some versions of Pillow begin with the other pass, a byte may differ by one.

const WEIGHT_BITS = 22;

// For each of `count` places: where in a line of `length` its pixels begin, and their weights.
function weigh(length, start, stop, count) {
  // The edges of the part have single precision there.
  const scale = Math.fround(Math.fround(stop) - Math.fround(start)) / count;
  const stretch = Math.max(scale, 1);
  return Array.from({length: count}, (_, place) => {
    const centre = Math.fround(start) + (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - stretch + 0.5));
    const last = Math.min(length, Math.trunc(centre + stretch + 0.5));
    const raw = [];
    for (let pixel = first; pixel < last; pixel++) {
      raw.push(Math.max(0, 1 - Math.abs((pixel - centre + 0.5) * (1 / stretch))));
    }
    const sum = raw.reduce((total, weight) => total + weight, 0);
    return {first, weights: Int32Array.from(raw, (weight) => 0.5 + (weight / sum) * (1 << WEIGHT_BITS))};
  });
}

// The largest centred part of an image that has the frame's shape: left, upper, right and lower edge.
function centreBox(height, width, [frameHeight, frameWidth]) {
  const scale = Math.min(height / frameHeight, width / frameWidth);
  const high = Math.min(height, frameHeight * scale), wide = Math.min(width, frameWidth * scale);
  const left = (width - wide) / 2, top = (height - high) / 2;
  return [left, top, Math.min(width, left + wide), Math.min(height, top + high)];
}

// One number of a line of pixels: `step` apart from `place` on, weighted.
function mix(pixels, place, step, weights) {
  let sum = 1 << (WEIGHT_BITS - 1);
  for (let k = 0; k < weights.length; k++) sum += pixels[place + k * step] * weights[k];
  return Math.min(255, Math.max(0, sum >> WEIGHT_BITS));
}

// RGB bytes (height x width x 3) of the frame. `read(top, rows)` gives RGBA bytes of some lines of the image.
function fitFrame(height, width, read, frame) {
  const [frameHeight, frameWidth] = frame;
  const [left, top, right, bottom] = centreBox(height, width, frame);
  const across = weigh(width, left, right, frameWidth), down = weigh(height, top, bottom, frameHeight);
  const first = down[0].first, end = down.at(-1).first + down.at(-1).weights.length;
  // A pass that would change nothing is left out.
  const isWide = frameWidth === width && left === 0 && right === width;
  const isHigh = frameHeight === height && top === 0 && bottom === height;
  const lines = new Uint8ClampedArray((end - first) * frameWidth * 3);
  // Some lines at a time: a photograph of 50 megapixels is 200 MB.
  const STRIP = 128;
  for (let y = first; y < end; y += STRIP) {
    const rows = Math.min(STRIP, end - y);
    const strip = read(y, rows);
    for (let row = 0; row < rows; row++) {
      let target = (y - first + row) * frameWidth * 3;
      for (let x = 0; x < frameWidth; x++) {
        for (let colour = 0; colour < 3; colour++) {
          const place = (row * width + (isWide ? x : across[x].first)) * 4 + colour;
          lines[target++] = isWide ? strip[place] : mix(strip, place, 4, across[x].weights);
        }
      }
    }
  }
  if (isHigh) return lines;
  const pixels = new Uint8ClampedArray(frameHeight * frameWidth * 3);
  for (let y = 0, target = 0; y < frameHeight; y++) {
    const start = (down[y].first - first) * frameWidth * 3;
    for (let x = 0; x < frameWidth * 3; x++) pixels[target++] = mix(lines, start + x, frameWidth * 3, down[y].weights);
  }
  return pixels;
}
