/** What a drawing engine is told for one picture; both engines (WebGL2, canvas2d) take the same orders. */
import { naturalWindow, type Instance } from './dicom';
import type { Picture } from './frames';
import type { Affine } from './transform';
import { linear, type Window } from './window';

export interface DrawOrder {
  picture: Picture;
  /** Picture pixels -> device pixels of the canvas. */
  affine: Affine;
  /** Display value = clamp(value * gain + bias); value is the stored number (grey) or 0..1 (bitmap). */
  gain: number;
  bias: number;
  invert: boolean;
  bitsStored: number;
  bytesPerPixel: 1 | 2;
  signed: boolean;
}

export interface Engine {
  readonly name: 'webgl2' | 'canvas2d';
  draw(order: DrawOrder | null): void;
  dispose(): void;
}

/** Work out gain and bias for a picture under a window; null is the window that the object asks for. */
export function order(
  picture: Picture,
  instance: Instance,
  window: Window | null,
  invert: boolean,
  affine: Affine,
): DrawOrder {
  const base = {
    picture,
    affine,
    bitsStored: instance.bitsStored,
    bytesPerPixel: instance.bitsAllocated > 8 ? (2 as const) : (1 as const),
    signed: instance.signed,
  };
  const natural = naturalWindow(instance);
  if (picture.kind === 'grey') {
    const flip = instance.photometric === 'MONOCHROME1';
    return { ...base, ...linear(window ?? natural, instance.slope, instance.intercept), invert: invert !== flip };
  }
  if (!window) return { ...base, gain: 1, bias: 0, invert };
  // The rendering already went through the natural window: undo it, then apply the asked one.
  const width = Math.max(window.width - 1, 1e-6);
  const gain = Math.max(natural.width - 1, 1e-6) / width;
  const bias = (natural.center - window.center) / width + 0.5 - 0.5 * gain;
  return { ...base, gain, bias, invert };
}
