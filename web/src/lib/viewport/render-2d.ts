/** The fall-back engine without WebGL2: window by table into an off-screen canvas, then one drawImage. */
import type { DrawOrder, Engine } from './render';
import { table8 } from './window';

export function canvasEngine(canvas: HTMLCanvasElement): Engine {
  const context = canvas.getContext('2d', { alpha: false });
  const scratch = document.createElement('canvas');
  let held = '';
  return {
    name: 'canvas2d',
    draw(order) {
      if (!context) return;
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.fillStyle = '#000';
      context.fillRect(0, 0, canvas.width, canvas.height);
      if (!order) return;
      const identity = [order.picture.key, order.gain, order.bias, order.invert].join();
      if (held !== identity) paint(scratch, order);
      held = identity;
      context.setTransform(...order.affine);
      context.imageSmoothingQuality = 'high';
      context.drawImage(scratch, 0, 0);
    },
    dispose() {
      scratch.width = scratch.height = 0;
    },
  };
}

function paint(scratch: HTMLCanvasElement, order: DrawOrder): void {
  const { picture } = order;
  scratch.width = picture.width;
  scratch.height = picture.height;
  const context = scratch.getContext('2d', { willReadFrequently: true });
  if (!context) return;
  if (picture.kind === 'grey') {
    const image = context.createImageData(picture.width, picture.height);
    windowGrey(order, picture.bytes, image.data);
    context.putImageData(image, 0, 0);
    return;
  }
  context.drawImage(picture.bitmap, 0, 0);
  if (order.gain === 1 && order.bias === 0 && !order.invert) return;
  const image = context.getImageData(0, 0, picture.width, picture.height);
  const table = table8(order.gain, order.bias, order.invert);
  for (let i = 0; i < image.data.length; i += 4) {
    for (let c = i; c < i + 3; c++) image.data[c] = table[image.data[c] ?? 0] ?? 0;
  }
  context.putImageData(image, 0, 0);
}

/** Stored little-endian numbers to RGBA greys under an order's window. */
export function windowGrey(
  order: Pick<DrawOrder, 'gain' | 'bias' | 'invert' | 'bitsStored' | 'bytesPerPixel' | 'signed'>,
  bytes: Uint8Array,
  out: Uint8ClampedArray,
): void {
  const span = 2 ** order.bitsStored;
  const table = new Uint8ClampedArray(span);
  for (let stored = 0; stored < span; stored++) {
    const value = order.signed && stored >= span / 2 ? stored - span : stored;
    const level = Math.min(1, Math.max(0, value * order.gain + order.bias));
    table[stored] = (order.invert ? 1 - level : level) * 255;
  }
  const two = order.bytesPerPixel === 2;
  for (let i = 0, k = 0; k < out.length; i++, k += 4) {
    const stored = two ? (bytes[2 * i] ?? 0) | ((bytes[2 * i + 1] ?? 0) << 8) : (bytes[i] ?? 0);
    const level = table[stored & (span - 1)] ?? 0;
    out[k] = out[k + 1] = out[k + 2] = level;
    out[k + 3] = 255;
  }
}
