// Waveform, words and spikes on one axis of time; energies as bars.

const WAVE = 96, AXIS = 20, ROWS = 8, GAP = 1, BLOCK_GAP = 6; // pixels; ROWS: channels drawn of each layer

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function prepare(canvas, width, height) {
  const scale = Math.min(window.devicePixelRatio || 1, 8000 / width); // browsers limit a canvas's size
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  return context;
}

/** Pixels a second at which the words' labels fit beside each other, within reason. */
export function pixelsPerSecond(room, seconds, words) {
  const context = document.createElement("canvas").getContext("2d");
  context.font = `14px ${getComputedStyle(document.body).fontFamily}`;
  const needed = words.map((word, place) => {
    const until = words[place + 1]?.start ?? Math.max(seconds, word.end);
    return (context.measureText(word.text).width + 8) / Math.max(0.05, until - word.start);
  });
  return Math.max(room / seconds, Math.min(Math.max(0, ...needed), 160, 16000 / seconds));
}

export function drawWave(canvas, samples, seconds, width, words) {
  const context = prepare(canvas, width, WAVE + AXIS);
  const per = samples.length / width, middle = WAVE / 2;
  const peak = samples.reduce((most, x) => Math.max(most, Math.abs(x)), 1e-3);
  context.fillStyle = color("--line");
  for (const { start, end } of words) {
    context.globalAlpha = 0.5;
    context.fillRect((start * width) / seconds, 0, ((end - start) * width) / seconds, WAVE);
  }
  context.globalAlpha = 1;
  context.fillStyle = color("--wave");
  for (let x = 0; x < width; x++) {
    let low = 0, high = 0;
    for (let i = Math.floor(x * per); i < (x + 1) * per && i < samples.length; i++) {
      low = Math.min(low, samples[i]);
      high = Math.max(high, samples[i]);
    }
    const top = middle - (high / peak) * middle * 0.95, bottom = middle - (low / peak) * middle * 0.95;
    context.fillRect(x, top, 1, Math.max(1, bottom - top));
  }
  context.fillStyle = color("--soft");
  context.font = `11px ${getComputedStyle(document.body).fontFamily}`;
  const every = [0.5, 1, 2, 5, 10, 30, 60].find((s) => (s * width) / seconds > 60) || 60;
  for (let second = 0; second <= seconds; second += every) {
    const x = (second * width) / seconds;
    context.fillRect(x, WAVE + 4, 1, 5);
    if (x < width - 24) context.fillText(`${second} s`, x + 4, WAVE + 13);
  }
}

/** Words as buttons that play themselves. */
export function showWords(container, words, seconds, width, play) {
  container.replaceChildren(...words.map((word, place) => {
    const button = document.createElement("button");
    const until = words[place + 1]?.start ?? seconds;
    button.textContent = word.text;
    button.style.left = `${(word.start * width) / seconds}px`;
    button.style.width = `${Math.max(4, ((until - word.start) * width) / seconds - 1)}px`;
    button.classList.toggle("unsure", word.confidence < 0.5);
    const sure = `${Math.round(100 * word.confidence)} % sure`;
    button.title = `${word.text}, ${word.start.toFixed(2)} to ${word.end.toFixed(2)} s, ${sure}`;
    button.setAttribute("aria-label", `Play ${button.title}`);
    button.addEventListener("click", () => play(word.start, word.end));
    return button;
  }));
}

/** Blocks of layers that are drawn: number to its layers, each with its `offset` among the channels. */
export function blocksOf(layers) {
  const blocks = new Map();
  let offset = 0;
  for (const layer of layers.filter(({ channels }) => channels)) {
    const number = Number(layer.name.match(/blocks\.(\d+)/)[1]);
    if (!blocks.has(number)) blocks.set(number, []);
    blocks.get(number).push({ ...layer, offset });
    offset += layer.channels;
  }
  return blocks;
}

/**
 * Spikes: of the layer named `only` all channels, or of each layer a few, evenly chosen; a row is a channel,
 * darker with more spikes. pieces: {start, seconds, frames, counts (frames, C)}.
 */
export function drawRaster(canvas, gutter, pieces, layers, seconds, width, only) {
  const all = [...pieces[0].blocks.entries()], strips = [];
  let y = 0;
  gutter.replaceChildren();
  for (const [number, own] of all) {
    const top = y;
    for (const layer of own) {
      if (only && layer.name !== only) continue;
      const rows = only ? layer.channels : ROWS;
      strips.push({ layer, rows, y });
      y += rows + GAP;
    }
    if (y === top) continue;
    const label = document.createElement("span");
    label.style.height = `${y - top + (only ? 0 : BLOCK_GAP)}px`;
    label.innerHTML = `<b>Block&nbsp;</b>${number + 1}`;
    gutter.append(label);
    y += only ? 0 : BLOCK_GAP;
  }
  const context = prepare(canvas, width, Math.max(1, y));
  context.imageSmoothingEnabled = false;
  const spike = document.createElement("canvas").getContext("2d");
  spike.fillStyle = color("--spike");
  spike.fillRect(0, 0, 1, 1);
  const [rgb] = new Uint32Array(spike.getImageData(0, 0, 1, 1).data.buffer);
  for (const { start, seconds: long, frames, counts } of pieces) {
    const size = counts.length / frames;
    for (const { layer, rows, y: top } of strips) {
      const picture = new OffscreenCanvas(frames, rows), paint = picture.getContext("2d");
      const image = paint.createImageData(frames, rows), pixels = new Uint32Array(image.data.buffer);
      for (let row = 0; row < rows; row++) {
        const channel = layer.offset + Math.floor(((row + 0.5) * layer.channels) / rows);
        for (let frame = 0; frame < frames; frame++) {
          const count = counts[frame * size + channel]; // the highest byte of a pixel is its opacity
          if (count) pixels[row * frames + frame] = (rgb & 0xffffff) | ((70 + (185 * count) / layer.levels) << 24);
        }
      }
      paint.putImageData(image, 0, 0);
      context.drawImage(picture, (start * width) / seconds, top, (long * width) / seconds, rows);
    }
  }
}

/** Two digits that count. */
export const number = (value) => (value < 10 ? value.toFixed(value < 1 ? 2 : 1) : Math.round(value).toString());

/** Bars in groups: [title, [label, microjoules, is it the network's own]]. */
export function showEnergy(table, groups) {
  table.innerHTML = '<colgroup><col class="label"><col><col class="value"></colgroup>';
  for (const [title, rows] of groups) {
    const body = table.createTBody(), head = body.insertRow();
    head.className = "group";
    head.innerHTML = `<th scope="rowgroup" colspan="3">${title}</th>`;
    const most = Math.max(...rows.map(([, microjoules]) => microjoules));
    const own = rows.find(([, , isOwn]) => isOwn)[1];
    for (const [label, microjoules, isOwn] of rows) {
      const row = body.insertRow();
      row.className = isOwn ? "own" : "";
      row.innerHTML = `<th scope="row"></th><td class="wide"><div class="bar"></div></td><td class="value"></td>`;
      row.cells[0].textContent = label;
      row.querySelector(".bar").style.width = `${(100 * microjoules) / most}%`;
      row.cells[2].textContent = `${number(microjoules)} µJ` + (isOwn ? "" : ` (× ${number(microjoules / own)})`);
    }
  }
}
