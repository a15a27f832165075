// What the network is fed, and what its answer means.

// The centre of a frame as the network takes it: colour by colour, bytes or normalised numbers.
function feed(pixels, {frame, crop, bytes, mean, std}) {
  const [height, width] = crop;
  const top = Math.floor((frame[0] - height) / 2), left = Math.floor((frame[1] - width) / 2);
  const fed = bytes ? new Uint8Array(3 * height * width) : new Float32Array(3 * height * width);
  for (let colour = 0, target = 0; colour < 3; colour++) {
    const shift = Math.fround(mean[colour]), by = Math.fround(std[colour]);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const value = pixels[((top + y) * frame[1] + left + x) * 3 + colour];
        // Single precision at each step, as everywhere else.
        fed[target++] = bytes ? value : Math.fround(Math.fround(value / 255) - shift) / by;
      }
    }
  }
  return fed;
}

// Probabilities: of one class among all, or of each label on its own.
function toShares(logits, several) {
  if (several) return Array.from(logits, (logit) => 1 / (1 + Math.exp(-logit)));
  const most = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const odds = Array.from(logits, (logit) => Math.exp(logit - most));
  const sum = odds.reduce((a, b) => a + b, 0);
  return odds.map((value) => value / sum);
}

// The numbers of the likeliest classes, likeliest first; of equal ones the first.
function rank(shares, count) {
  return shares.map((_, k) => k).sort((a, b) => shares[b] - shares[a] || a - b).slice(0, count);
}

// The bytes of a name that a script beside the page has put there.
async function unpack(name) {
  const text = atob(globalThis.packed[name]);
  delete globalThis.packed[name];
  const bytes = new Uint8Array(text.length);
  for (let k = 0; k < text.length; k++) bytes[k] = text.charCodeAt(k);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Load the network; gives a function from what it is fed to probabilities.
async function openModel(facts) {
  // One thread: more would need headers that only a server of one's own can send.
  Object.assign(ort.env.wasm, {wasmBinary: await unpack('wasm'), numThreads: 1, proxy: false});
  ort.env.logLevel = 'error';
  const session = await ort.InferenceSession.create(await unpack('model'), {executionProviders: ['wasm']});
  return async (fed) => {
    const images = new ort.Tensor(facts.bytes ? 'uint8' : 'float32', fed, [1, 3, ...facts.crop]);
    const answers = await session.run({[session.inputNames[0]]: images});
    return toShares(answers[session.outputNames[0]].data, facts.several);
  };
}

// An image file as its size and a function that reads lines of it: upright, colours as stored, on white.
async function openImage(file) {
  const image = await createImageBitmap(file, {imageOrientation: 'from-image', colorSpaceConversion: 'none'});
  const canvas = document.createElement('canvas');
  canvas.width = image.width;
  const painter = canvas.getContext('2d', {willReadFrequently: true});
  const read = (top, rows) => {
    canvas.height = rows;
    painter.fillStyle = '#fff';
    painter.fillRect(0, 0, image.width, rows);
    painter.drawImage(image, 0, top, image.width, rows, 0, 0, image.width, rows);
    return painter.getImageData(0, 0, image.width, rows).data;
  };
  return {height: image.height, width: image.width, read, close: () => image.close()};
}
