/**
 * Draws strokes and lasers over the picture; no state of its own. In go pixels of the picture that each shape was drawn on,
 * which may be another encode or an earlier size of the one that is shown (RS-20); out come canvas pixels.
 */
import { getStroke } from 'perfect-freehand';
import { opacity, type ShownStroke } from '@/lib/rtc/strokes';
import { pictureOf, rescale, type Size } from '@/lib/rtc/geometry';
import type { Point, Track } from '@/lib/rtc/messages';
import type { LaserDot } from './session';

export interface OverlayScene {
  strokes: readonly ShownStroke[];
  /** The stroke that is being drawn and was not sent yet. */
  draft: ShownStroke | null;
  lasers: readonly LaserDot[];
  /** The size of the picture that is shown. */
  source: Size;
  tracks: readonly Pick<Track, 'id' | 'width' | 'height'>[];
  /** Device pixels per source pixel of the shown picture. */
  scale: number;
  ratio: number;
  now_ms: number;
}

export const LASER_MS = 1_500;
const OUTLINE = 'rgb(0 0 0 / 0.55)';

/** Draw one picture of the scene; returns true while something on it still moves by itself (fades). */
export function drawOverlay(context: CanvasRenderingContext2D, scene: OverlayScene): boolean {
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, context.canvas.width, context.canvas.height);
  let moving = false;
  for (const stroke of scene.draft ? [...scene.strokes, scene.draft] : scene.strokes) {
    context.globalAlpha = opacity(stroke, scene.now_ms);
    moving ||= stroke.ends_ms !== Infinity;
    drawStroke(context, stroke, scene);
  }
  for (const laser of scene.lasers) {
    const age = scene.now_ms - laser.at_ms;
    if (age > LASER_MS) continue;
    moving = true;
    context.globalAlpha = Math.min(1, (LASER_MS - age) / 500);
    drawLaser(context, laser, scene);
  }
  context.globalAlpha = 1;
  return moving;
}

/** Return where a shape's points lie on the canvas. */
function placed(
  shape: Pick<ShownStroke, 'track_id'> & { picture?: Point | undefined },
  points: readonly Point[],
  { source, tracks, scale }: OverlayScene,
): Point[] {
  const from = pictureOf(shape, tracks);
  return points.map((point): Point => {
    const [x, y] = rescale(point, from, source);
    return [x * scale, y * scale];
  });
}

function drawStroke(context: CanvasRenderingContext2D, stroke: ShownStroke, scene: OverlayScene): void {
  const { ratio } = scene;
  const points = placed(stroke, stroke.points, scene);
  context.lineCap = context.lineJoin = 'round';
  switch (stroke.tool) {
    case 'pen':
      return fill(context, penPath(points, 5 * ratio), stroke.color, ratio);
    case 'arrow':
      return line(context, arrowPath(points, 16 * ratio), stroke.color, ratio);
    case 'ellipse':
      return line(context, ellipsePath(points), stroke.color, ratio);
    case 'text':
      return write(context, points[0] ?? [0, 0], stroke.text ?? '', stroke.color, ratio);
  }
}

function penPath(points: Point[], size: number): Path2D {
  const outline = getStroke(points, { size, thinning: 0.35, smoothing: 0.5, streamline: 0.35, simulatePressure: true });
  const path = new Path2D();
  outline.forEach(([x = 0, y = 0], i) => {
    const [nextX = 0, nextY = 0] = outline[(i + 1) % outline.length] ?? [x, y];
    if (i === 0) path.moveTo((x + nextX) / 2, (y + nextY) / 2);
    else path.quadraticCurveTo(x, y, (x + nextX) / 2, (y + nextY) / 2);
  });
  path.closePath();
  return path;
}

function arrowPath(points: Point[], head: number): Path2D {
  const path = new Path2D();
  const [from, to] = [points[0], points[points.length - 1]];
  if (!from || !to) return path;
  const angle = Math.atan2(to[1] - from[1], to[0] - from[0]);
  path.moveTo(from[0], from[1]);
  path.lineTo(to[0], to[1]);
  for (const side of [-0.45, 0.45]) {
    path.moveTo(to[0], to[1]);
    path.lineTo(to[0] - head * Math.cos(angle + side), to[1] - head * Math.sin(angle + side));
  }
  return path;
}

function ellipsePath(points: Point[]): Path2D {
  const path = new Path2D();
  const [a, b] = [points[0], points[points.length - 1]];
  if (!a || !b) return path;
  path.ellipse((a[0] + b[0]) / 2, (a[1] + b[1]) / 2, Math.abs(b[0] - a[0]) / 2, Math.abs(b[1] - a[1]) / 2, 0, 0, 7);
  return path;
}

function fill(context: CanvasRenderingContext2D, path: Path2D, color: string, ratio: number): void {
  context.lineWidth = 2 * ratio;
  context.strokeStyle = OUTLINE;
  context.stroke(path);
  context.fillStyle = color;
  context.fill(path);
}

function line(context: CanvasRenderingContext2D, path: Path2D, color: string, ratio: number): void {
  for (const [style, width] of [
    [OUTLINE, 5.5],
    [color, 3],
  ] as const) {
    context.strokeStyle = style;
    context.lineWidth = width * ratio;
    context.stroke(path);
  }
}

function write(context: CanvasRenderingContext2D, [x, y]: Point, text: string, color: string, ratio: number): void {
  context.font = `600 ${17 * ratio}px ${getComputedStyle(document.documentElement).getPropertyValue('--font') || 'sans-serif'}`;
  context.textBaseline = 'top';
  context.lineWidth = 4 * ratio;
  context.strokeStyle = 'rgb(0 0 0 / 0.8)';
  context.strokeText(text, x, y);
  context.fillStyle = color;
  context.fillText(text, x, y);
}

function drawLaser(context: CanvasRenderingContext2D, laser: LaserDot, scene: OverlayScene): void {
  const { ratio } = scene;
  const [[x, y] = [0, 0]] = placed(laser, [[laser.x, laser.y]], scene);
  const glow = context.createRadialGradient(x, y, 0, x, y, 15 * ratio);
  glow.addColorStop(0, '#fff');
  glow.addColorStop(0.28, laser.color);
  glow.addColorStop(1, 'transparent');
  context.fillStyle = glow;
  context.beginPath();
  context.arc(x, y, 15 * ratio, 0, 7);
  context.fill();
  if (laser.name === '') return;
  context.font = `600 ${11 * ratio}px sans-serif`;
  context.textBaseline = 'middle';
  context.lineWidth = 3 * ratio;
  context.strokeStyle = 'rgb(0 0 0 / 0.75)';
  context.strokeText(laser.name, x + 14 * ratio, y);
  context.fillStyle = laser.color;
  context.fillText(laser.name, x + 14 * ratio, y);
}
