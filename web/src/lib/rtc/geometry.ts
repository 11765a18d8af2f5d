/**
 * Where a source pixel of the live picture lies on the screen. The picture is never cropped: it is fitted whole,
 * or shown one source pixel to one device pixel (and scrolled when larger than its box).
 */
export interface Size {
  width: number;
  height: number;
}

export interface Placement extends Size {
  x: number;
  y: number;
  /** CSS pixels per source pixel. */
  scale: number;
}

export type FitMode = 'fit' | 'one';

/** Place a picture of `source` pixels into a box of CSS pixels, centred; whole in `fit`, 1:1 device pixels in `one`. */
export function place(source: Size, box: Size, mode: FitMode, devicePixelRatio = 1): Placement {
  if (source.width <= 0 || source.height <= 0) return { x: 0, y: 0, width: 0, height: 0, scale: 1 };
  const scale = mode === 'one' ? 1 / devicePixelRatio : Math.min(box.width / source.width, box.height / source.height);
  const width = source.width * scale;
  const height = source.height * scale;
  return {
    x: Math.max(0, (box.width - width) / 2),
    y: Math.max(0, (box.height - height) / 2),
    width,
    height,
    scale,
  };
}

/** A point of the screen (CSS pixels, relative to the box) in source pixels, held inside the picture. */
export function toSource(placement: Placement, source: Size, x: number, y: number): [number, number] {
  const clamp = (value: number, limit: number): number => Math.min(Math.max(value, 0), limit);
  return [
    round(clamp((x - placement.x) / placement.scale, source.width)),
    round(clamp((y - placement.y) / placement.scale, source.height)),
  ];
}

/** A source pixel on the screen (CSS pixels, relative to the box). */
export function toScreen(placement: Placement, point: readonly [number, number]): [number, number] {
  return [placement.x + point[0] * placement.scale, placement.y + point[1] * placement.scale];
}

/** Say whether a screen point lies on the picture. */
export function onPicture(placement: Placement, x: number, y: number): boolean {
  return (
    x >= placement.x && y >= placement.y && x <= placement.x + placement.width && y <= placement.y + placement.height
  );
}

/** The size that a shape's coordinates are of: its own, else its track's; null when neither is known. */
export function pictureOf(
  shape: { track_id: string; picture?: readonly [number, number] | null | undefined },
  tracks: readonly { id: string; width?: number | null; height?: number | null }[],
): Size | null {
  if (shape.picture) return { width: shape.picture[0], height: shape.picture[1] };
  const track = tracks.find((candidate) => candidate.id === shape.track_id);
  return track?.width && track.height ? { width: track.width, height: track.height } : null;
}

/** A point of a picture of size `from` on the same picture of size `to`; itself where `from` is not known (RS-20). */
export function rescale(point: readonly [number, number], from: Size | null, to: Size): [number, number] {
  if (!from) return [point[0], point[1]];
  return [(point[0] * to.width) / from.width, (point[1] * to.height) / from.height];
}

function round(value: number): number {
  return Math.round(value * 10) / 10; // a tenth of a source pixel is finer than any screen shows
}
