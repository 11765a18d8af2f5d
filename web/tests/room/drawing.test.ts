/** Pointer to messages: pieces, limits, shapes. */
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { Drawing, type DrawingContext } from '@/features/room/drawing';
import type { Point, StrokeDraft } from '@/lib/rtc/messages';

const CONTEXT: DrawingContext = {
  tool: 'pen',
  pinned: false,
  trackId: 't',
  frame: { track_id: 't', rtp_timestamp: 9, media_epoch: 1 },
  picture: [1280, 720],
};

function setUp() {
  const pieces: StrokeDraft[] = [];
  const points: (Point | null)[] = [];
  const drawing = new Drawing(
    { send: (piece) => pieces.push(piece), point: (at) => points.push(at), preview: () => undefined },
    () => 'id',
    () => Date.now(),
  );
  return { drawing, pieces, points };
}

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => vi.useRealTimers());

it('sends a pen stroke in pieces of one id whose points join without gap or double (RS-20)', () => {
  const { drawing, pieces } = setUp();
  const path = Array.from({ length: 200 }, (_, i): Point => [i, i]);
  drawing.begin(CONTEXT, [0, 0]);
  for (const point of path.slice(1)) {
    drawing.move(point);
    vi.advanceTimersByTime(5);
  }
  drawing.end();
  expect(pieces.flatMap((piece) => piece.points)).toEqual(path);
  expect(new Set(pieces.map((piece) => piece.id)).size).toBe(1);
  expect(pieces[0]?.frame.rtp_timestamp).toBe(9);
  expect(pieces.every((piece) => piece.picture?.join() === '1280,720')).toBe(true);
  expect(pieces.length).toBeGreaterThan(5);
  expect(pieces.length).toBeLessThanOrEqual(25); // one second of drawing
});

it('never sends more than 25 laser messages a second and ends with off (RS-21)', () => {
  const { drawing, points } = setUp();
  for (let i = 0; i < 1000; i++) {
    drawing.hover([i, 0]);
    vi.advanceTimersByTime(1);
  }
  expect(points.length).toBeGreaterThan(10);
  expect(points.length).toBeLessThanOrEqual(25);
  drawing.cancel();
  expect(points.at(-1)).toBeNull();
  drawing.cancel();
  expect(points.filter((point) => point === null)).toHaveLength(1);
});

it('sends arrow and ellipse once, with their two points, and not for a mere click', () => {
  const { drawing, pieces } = setUp();
  for (const tool of ['arrow', 'ellipse'] as const) {
    drawing.begin({ ...CONTEXT, tool }, [10, 10]);
    drawing.move([50, 20]);
    drawing.move([90, 60]);
    drawing.end();
  }
  expect(pieces.map((piece) => piece.points)).toEqual([
    [
      [10, 10],
      [90, 60],
    ],
    [
      [10, 10],
      [90, 60],
    ],
  ]);
  drawing.begin({ ...CONTEXT, tool: 'arrow' }, [10, 10]);
  drawing.end();
  expect(pieces).toHaveLength(2);
});

it('stops a stroke at 2000 points', () => {
  const { drawing, pieces } = setUp();
  drawing.begin(CONTEXT, [0, 0]);
  for (let i = 1; i < 3000; i++) drawing.move([i, 0]);
  drawing.end();
  expect(pieces.flatMap((piece) => piece.points)).toHaveLength(2000);
});

it('writes text at a point, pinned when asked', () => {
  const { drawing, pieces } = setUp();
  drawing.write({ ...CONTEXT, tool: 'text', pinned: true }, [5, 6], 'LV');
  expect(pieces[0]).toMatchObject({ tool: 'text', text: 'LV', points: [[5, 6]], pinned: true });
});
