// What the visitor sees and does.

const facts = JSON.parse(document.getElementById('facts').textContent);
const find = (id) => document.getElementById(id);
const TOP = 5;
let shownAddress = null;
let answer = null;
let turn = 0;

function say(text, isMistake = false) {
  find('status').textContent = isMistake ? '' : text;
  find('mistake').textContent = isMistake ? text : '';
  find('mistake').hidden = !isMistake;
}

const nameOf = (k) => facts.classes[k] ?? String(k);
const percent = (share) => `${(100 * share).toFixed(1)} %`;
const milliseconds = (time) => (time < 10 ? time.toFixed(1) : Math.round(time).toLocaleString('en'));

function showBars(shares) {
  const rows = rank(shares, TOP).map((k, place) => {
    const row = document.createElement('li');
    const name = document.createElement('bdi');
    // Text, whatever the name holds.
    name.textContent = nameOf(k);
    const share = document.createElement('span');
    share.className = 'share';
    share.textContent = percent(shares[k]);
    const bar = document.createElement('span');
    bar.className = 'bar';
    const filled = document.createElement('span');
    filled.style.width = `${100 * shares[k]}%`;
    bar.append(filled);
    row.append(name, share, bar);
    row.classList.toggle('chosen', facts.several ? shares[k] >= 0.5 : place === 0);
    return row;
  });
  find('bars').replaceChildren(...rows);
}

function sayAnswer(shares) {
  const best = rank(shares, shares.length);
  if (!facts.several) return `${nameOf(best[0])}, ${percent(shares[best[0]])}`;
  const labels = best.filter((k) => shares[k] >= 0.5).map(nameOf);
  return labels.length ? labels.join(', ') : 'None of the labels reaches 50 %';
}

// Let the browser draw what was said before the network keeps it busy.
const drawn = () => new Promise((resolve) => setTimeout(resolve, 30));

async function ask(file, name) {
  const mine = ++turn;
  if (answer === null) return;
  let image;
  try {
    image = await openImage(file);
  } catch {
    say(`“${name}” is not an image that this browser can read.`, true);
    return;
  }
  if (mine !== turn) return;
  if (shownAddress !== null) URL.revokeObjectURL(shownAddress);
  shownAddress = URL.createObjectURL(file);
  find('shown').src = shownAddress;
  find('shown').alt = `The image that was asked about: ${name}`;
  find('result').hidden = false;
  say('Looking …');
  await drawn();
  try {
    const start = performance.now();
    const fed = feed(fitFrame(image.height, image.width, image.read, facts.frame), facts);
    const prepared = performance.now();
    const shares = await answer(fed);
    const stop = performance.now();
    if (mine !== turn) return;
    find('answer').textContent = sayAnswer(shares);
    showBars(shares);
    find('time').textContent =
      `${milliseconds(stop - prepared)} ms for the network, ${milliseconds(prepared - start)} ms to prepare ` +
      `${image.width.toLocaleString('en')} × ${image.height.toLocaleString('en')} pixels`;
    say('Done.');
    // On a phone the answer may lie below what is seen.
    find('result').scrollIntoView({block: 'nearest'});
  } catch (error) {
    say(`The network did not answer: ${error.message ?? error}`, true);
  } finally {
    image.close();
  }
}

function toFile(address) {
  const [head, text] = address.split(',');
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Blob([bytes], {type: head.slice(5).split(';')[0]});
}

function listen() {
  const picker = find('picker');
  picker.addEventListener('change', () => {
    if (picker.files.length) ask(picker.files[0], picker.files[0].name);
    // So that the same file can be chosen again.
    picker.value = '';
  });
  for (const sample of document.querySelectorAll('button.sample')) {
    const picture = sample.querySelector('img');
    sample.addEventListener('click', () => ask(toFile(picture.src), sample.dataset.name));
  }
  const drop = find('drop');
  // Anywhere: an image that misses the field would replace the page.
  document.addEventListener('dragover', (event) => {
    event.preventDefault();
    drop.classList.add('over');
  });
  document.addEventListener('dragleave', () => drop.classList.remove('over'));
  document.addEventListener('drop', (event) => {
    event.preventDefault();
    drop.classList.remove('over');
    const file = event.dataTransfer.files[0];
    if (file) ask(file, file.name);
  });
  document.addEventListener('paste', (event) => {
    const file = event.clipboardData.files[0];
    if (file) ask(file, file.name || 'the pasted image');
  });
}

async function begin() {
  const missing = [['onnxruntime.js', globalThis.ort], ['model.js', globalThis.packed?.model]]
    .filter(([, there]) => there === undefined)
    .map(([name]) => name);
  if (missing.length) {
    say(`${missing.join(' and ')} could not be loaded. Keep all files of this folder together.`, true);
    return;
  }
  try {
    const opened = await openModel(facts);
    // The first answer takes longer than all others.
    await opened(new (facts.bytes ? Uint8Array : Float32Array)(3 * facts.crop[0] * facts.crop[1]));
    answer = opened;
  } catch (error) {
    say(`The network can't run in this browser: ${error.message ?? error}`, true);
    return;
  }
  for (const control of document.querySelectorAll('button.sample, #picker')) control.disabled = false;
  document.documentElement.classList.add('ready');
  say('Ready.');
}

listen();
document.addEventListener('DOMContentLoaded', begin);
