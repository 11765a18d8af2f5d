/** A shape lies on the same spot of the examination whatever size of picture it was drawn on and is shown on (RS-20). */
import { beforeEach, expect, it, vi } from 'vitest';
import { drawOverlay, type OverlayScene } from '@/features/room/overlay';
import type { LaserDot } from '@/features/room/session';
import type { ShownStroke } from '@/lib/rtc/strokes';

class Path {
  static made: Path[] = [];
  readonly points: [number, number][] = [];
  constructor() {
    Path.made.push(this);
  }
  moveTo(x: number, y: number): void {
    this.points.push([x, y]);
  }
  lineTo(x: number, y: number): void {
    this.points.push([x, y]);
  }
}

beforeEach(() => {
  Path.made = [];
  vi.stubGlobal('Path2D', Path);
});

const FULL = { width: 1920, height: 1080 };
const SMALL = { width: 1280, height: 720 };
const TRACKS = [{ id: 'h264', ...FULL }, { id: 'vp8', ...SMALL }, { id: 'unknown' }];

/** Draw an arrow and a laser that name a spot of the picture, and return where they lie on the canvas (0 to 1). */
function spots(shape: Partial<ShownStroke>, at: [number, number], source: { width: number; height: number }) {
  const glows: [number, number][] = [];
  const context = {
    canvas: { width: 0, height: 0 },
    setTransform: () => undefined,
    clearRect: () => undefined,
    stroke: () => undefined,
    fill: () => undefined,
    beginPath: () => undefined,
    arc: () => undefined,
    createRadialGradient: (x: number, y: number) => {
      glows.push([x, y]);
      return { addColorStop: () => undefined };
    },
  } as unknown as CanvasRenderingContext2D;
  const scene: OverlayScene = {
    strokes: [{ tool: 'arrow', points: [at, at], color: '#fff', ends_ms: Infinity, ...shape } as ShownStroke],
    draft: null,
    lasers: [{ x: at[0], y: at[1], name: '', color: '#fff', at_ms: 0, ...shape } as LaserDot],
    source,
    tracks: TRACKS,
    scale: 960 / source.width, // the canvas is 960 wide
    ratio: 1,
    now_ms: 0,
  };
  drawOverlay(context, scene);
  return [Path.made.at(-1)?.points[0], glows[0]].map(([x, y] = [NaN, NaN]) => [x / 960, y / 540] as const);
}

it.each([
  ['drawn on 1080 lines, shown on 720', { track_id: 'h264' }, [960, 270], SMALL],
  ['drawn on 720 lines, shown on 1080', { track_id: 'vp8' }, [640, 180], FULL],
  ['drawn and shown on one size', { track_id: 'vp8' }, [640, 180], SMALL],
  ['drawn before its track changed its size', { track_id: 'h264', picture: [640, 480] }, [320, 120], FULL],
  ['of a track whose size nobody knows: as it stands', { track_id: 'unknown' }, [640, 180], SMALL],
] as [string, Partial<ShownStroke>, [number, number], typeof FULL][])('%s', (_, shape, at, source) => {
  for (const [x, y] of spots(shape, at, source)) {
    expect(x).toBeCloseTo(0.5);
    expect(y).toBeCloseTo(0.25);
  }
});
