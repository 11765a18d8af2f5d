/** From image pixels to the screen and back: zoom, pan, quarter turns, flips. Pure; screen units are CSS pixels. */
export interface View {
  /** CSS pixels per image pixel (along a row), before turning. */
  scale: number;
  /** The picture's centre relative to the box's centre. */
  panX: number;
  panY: number;
  /** Quarter turns clockwise, 0..3. */
  turns: number;
  flipH: boolean;
  flipV: boolean;
}

export interface Picture {
  width: number;
  height: number;
  /** Height of a pixel over its width (PS3.3 C.7.6.3.1.7); 1 when square. */
  aspect: number;
}

export interface Box {
  width: number;
  height: number;
}

/** `[a, b, c, d, e, f]`: x' = a x + c y + e, y' = b x + d y + f, as canvas setTransform takes it. */
export type Affine = [number, number, number, number, number, number];

export const UPRIGHT: Pick<View, 'turns' | 'flipH' | 'flipV'> = { turns: 0, flipH: false, flipV: false };

/** How the picture stands against the stored one: mirrored (across the upright axis), then turned clockwise. */
export function orientation({ turns, flipH, flipV }: Pick<View, 'turns' | 'flipH' | 'flipV'>): {
  mirrored: boolean;
  degrees: number;
} {
  return { mirrored: flipH !== flipV, degrees: ((turns + (flipV ? 2 : 0)) % 4) * 90 };
}

/** The scale at which the whole turned picture just fits the box. */
export function fitScale(picture: Picture, box: Box, turns: number): number {
  const tall = picture.height * picture.aspect;
  const [width, height] = turns % 2 === 0 ? [picture.width, tall] : [tall, picture.width];
  return width > 0 && height > 0 ? Math.min(box.width / width, box.height / height) : 1;
}

/** Image pixels -> box coordinates (origin top left). */
export function toBox(view: View, picture: Picture, box: Box): Affine {
  const sx = view.scale * (view.flipH ? -1 : 1);
  const sy = view.scale * picture.aspect * (view.flipV ? -1 : 1);
  const [cos, sin] = (
    [
      [1, 0],
      [0, 1],
      [-1, 0],
      [0, -1],
    ] as const
  )[((view.turns % 4) + 4) % 4] as readonly [number, number];
  const a = cos * sx;
  const b = sin * sx;
  const c = -sin * sy;
  const d = cos * sy;
  const cx = box.width / 2 + view.panX;
  const cy = box.height / 2 + view.panY;
  const hx = picture.width / 2;
  const hy = picture.height / 2;
  return [a, b, c, d, cx - a * hx - c * hy, cy - b * hx - d * hy];
}

export function invert([a, b, c, d, e, f]: Affine): Affine {
  const det = a * d - b * c;
  return [d / det, -b / det, -c / det, a / det, (c * f - d * e) / det, (b * e - a * f) / det];
}

export function apply([a, b, c, d, e, f]: Affine, x: number, y: number): [number, number] {
  return [a * x + c * y + e, b * x + d * y + f];
}

/** Zoom by a factor with the point `at` (box coordinates) staying where it is. */
export function zoomAt(view: View, box: Box, factor: number, at: { x: number; y: number }): View {
  const scale = Math.min(40, Math.max(0.02, view.scale * factor));
  const real = scale / view.scale;
  const dx = at.x - box.width / 2;
  const dy = at.y - box.height / 2;
  return { ...view, scale, panX: dx - (dx - view.panX) * real, panY: dy - (dy - view.panY) * real };
}
