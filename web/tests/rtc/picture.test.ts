/** Where a stroke lies, which frame is shown and how old it is, and how strokes live. */
import { describe, expect, it } from 'vitest';
import { FrameClock, latencyMs, rtpDistance } from '@/lib/rtc/frame-clock';
import { onPicture, place, toScreen, toSource } from '@/lib/rtc/geometry';
import { decodableCodecs, preferCodec } from '@/lib/rtc/capabilities';
import type { FrameMap, Stroke } from '@/lib/rtc/messages';
import { opacity, StrokeBook } from '@/lib/rtc/strokes';

const HD = { width: 1280, height: 720 };

describe('placing the picture', () => {
  it.each([
    [{ width: 1000, height: 1000 }],
    [{ width: 390, height: 700 }],
    [{ width: 1440, height: 300 }],
    [{ width: 333, height: 187 }],
  ])('shows it whole and centred in %o', (box) => {
    const at = place(HD, box, 'fit');
    expect(at.width).toBeLessThanOrEqual(box.width + 1e-9);
    expect(at.height).toBeLessThanOrEqual(box.height + 1e-9);
    expect(at.width / at.height).toBeCloseTo(16 / 9);
    expect(at.x * 2 + at.width).toBeCloseTo(box.width);
    expect(at.y * 2 + at.height).toBeCloseTo(box.height);
  });

  it('maps one source pixel to one device pixel in 1:1', () => {
    expect(place(HD, { width: 400, height: 400 }, 'one', 2)).toMatchObject({
      width: 640,
      height: 360,
      scale: 0.5,
      x: 0,
    });
  });

  it('puts a point drawn on one screen on the same source pixel of every other', () => {
    const boxes = [
      { width: 901, height: 377 },
      { width: 390, height: 500 },
      { width: 2560, height: 1300 },
    ];
    for (const from of boxes) {
      const here = place(HD, from, 'fit');
      const source = toSource(here, HD, ...toScreen(here, [317.5, 92.1]));
      expect(source[0]).toBeCloseTo(317.5, 1);
      expect(source[1]).toBeCloseTo(92.1, 1);
      for (const to of boxes) {
        const there = place(HD, to, 'fit');
        const [x, y] = toScreen(there, source);
        expect((x - there.x) / there.width).toBeCloseTo(317.5 / 1280, 4);
        expect((y - there.y) / there.height).toBeCloseTo(92.1 / 720, 4);
      }
    }
  });

  it('holds points inside the picture and knows the black border from it', () => {
    const at = place(HD, { width: 1280, height: 1000 }, 'fit');
    expect(toSource(at, HD, 5_000, -20)).toEqual([1280, 0]);
    expect(onPicture(at, 600, 20)).toBe(false);
    expect(onPicture(at, 600, 500)).toBe(true);
  });

  it('is empty, not infinite, before the size is known', () => {
    expect(place({ width: 0, height: 0 }, HD, 'fit')).toEqual({ x: 0, y: 0, width: 0, height: 0, scale: 1 });
  });
});

describe('frame clock', () => {
  const map = (rtp: number, more: Partial<FrameMap> = {}): FrameMap => ({
    track_id: 't',
    rtp_timestamp: rtp >>> 0,
    media_epoch: 7,
    frame_no: 100,
    captured_at_us: 1_700_000_000_000_000,
    ...more,
  });

  it('counts across the wrap of the RTP timestamp, both ways', () => {
    expect(rtpDistance(10, 0xffff_fff6)).toBe(20);
    expect(rtpDistance(0xffff_fff6, 10)).toBe(-20);
  });

  it('tells the capture time of later and earlier frames (RS-16)', () => {
    const clock = new FrameClock();
    clock.add(map(90_000));
    expect(clock.capturedAt('t', 93_000)).toBe(1_700_000_000_033_333);
    expect(clock.capturedAt('t', 87_000)).toBe(1_699_999_999_966_667);
    expect(clock.capturedAt('other', 87_000)).toBeNull();
  });

  it('tells it across the wrap', () => {
    const clock = new FrameClock();
    clock.add(map(0xffff_ffff - 4_499));
    expect(clock.capturedAt('t', 4_500)).toBe(1_700_000_000_100_000);
  });

  it('takes the nearest map and forgets the old media epoch', () => {
    const clock = new FrameClock();
    clock.add(map(0, { captured_at_us: 0 }));
    clock.add(map(180_000, { captured_at_us: 2_000_000, frame_no: 160 }));
    expect(clock.ref('t', 180_000)).toMatchObject({ frame_no: 160, media_epoch: 7 });
    expect(clock.ref('t', 180_000 + 3_000).frame_no).toBeUndefined();
    clock.add(map(500, { media_epoch: 8, captured_at_us: 9_000_000 }));
    expect(clock.ref('t', 500).media_epoch).toBe(8);
    expect(clock.nearest('t', 180_000)?.media_epoch).toBe(8);
  });

  it('guesses from the server’s clock when the browser is silent', () => {
    const clock = new FrameClock();
    expect(clock.guess('t', 0)).toBeNull();
    clock.add(map(90_000));
    expect(clock.guess('t', 1_700_000_001_000_000)?.rtp_timestamp).toBe(180_000);
  });

  it('adds the clock offset to the latency and refuses what cannot be', () => {
    expect(latencyMs(1_000_000_000, 1_000_050, 70)).toBe(120);
    expect(latencyMs(1_000_000_000, 999_990, 0)).toBe(0);
    expect(latencyMs(1_000_000_000, 999_000, 0)).toBeNull();
    expect(latencyMs(1_000_000_000, 1_090_000, 0)).toBeNull();
  });
});

describe('strokes', () => {
  const stroke = (more: Partial<Stroke> = {}): Stroke => ({
    id: 's',
    tool: 'pen',
    track_id: 't',
    points: [[1, 1]],
    frame: { track_id: 't', rtp_timestamp: 1, media_epoch: 0 },
    pinned: false,
    participant_id: 'p',
    color: '#fff',
    at: '2026-01-01T00:00:00Z',
    expires_at: '2026-01-01T00:00:08Z',
    ...more,
  });
  const START = Date.parse('2026-01-01T00:00:00Z');
  const on = new Set(['t']);

  it('ends at the server’s time, seen through the clock offset (RS-20)', () => {
    const book = new StrokeBook();
    book.apply(stroke(), 5_000, START - 5_000);
    expect(book.alive(on, START + 2_999)).toHaveLength(1);
    expect(book.alive(on, START + 3_000)).toHaveLength(0);
    expect(book.size).toBe(0);
  });

  it('fades in its last moments and stays when pinned', () => {
    const book = new StrokeBook();
    book.apply(stroke(), 0, START);
    book.apply(stroke({ id: 'pin', pinned: true, expires_at: null }), 0, START);
    const [fading, pinned] = book.alive(on, START + 7_250);
    expect(fading && opacity(fading, START + 7_250)).toBeCloseTo(0.5);
    expect(pinned && opacity(pinned, START + 9_000_000)).toBe(1);
    expect(book.alive(on, START + 9_000_000).map((one) => one.id)).toEqual(['pin']);
  });

  it('appends the points of a known id', () => {
    const book = new StrokeBook();
    book.apply(stroke(), 0, START);
    book.apply(
      stroke({
        points: [
          [2, 2],
          [3, 3],
        ],
      }),
      0,
      START,
    );
    expect(book.alive(on, START)[0]?.points).toEqual([
      [1, 1],
      [2, 2],
      [3, 3],
    ]);
  });

  it('does not double one’s own points when the server sends them back', () => {
    const book = new StrokeBook();
    const whole = stroke({
      points: [
        [1, 1],
        [2, 2],
      ],
    });
    book.draw(whole, 'me', '#0f0', START);
    book.apply(stroke({ points: [[1, 1]] }), 0, START);
    book.apply(stroke({ points: [[2, 2]] }), 0, START);
    expect(book.alive(on, START)[0]?.points).toEqual([
      [1, 1],
      [2, 2],
    ]);
  });

  it('shows only the strokes of the picture on the screen, and drops removed ones', () => {
    const book = new StrokeBook();
    book.apply(stroke(), 0, START);
    book.apply(stroke({ id: 'other', track_id: 'x' }), 0, START);
    expect(book.alive(on, START).map((one) => one.id)).toEqual(['s']);
    book.remove(['s']);
    expect(book.alive(on, START)).toHaveLength(0);
  });
});

describe('codecs', () => {
  const codec = (mimeType: string, sdpFmtpLine = ''): RTCRtpCodec => ({ mimeType, clockRate: 90_000, sdpFmtpLine });

  it('always keeps VP8 answerable', () => {
    expect(
      decodableCodecs({ getCapabilities: () => ({ codecs: [codec('video/VP8')], headerExtensions: [] }) }),
    ).toEqual(['VP8', 'opus']);
    expect(decodableCodecs({})).toEqual(['VP8', 'opus']);
    const both = { codecs: [codec('video/VP8'), codec('video/H264')], headerExtensions: [] };
    expect(decodableCodecs({ getCapabilities: () => both })).toEqual(['H264', 'VP8', 'opus']);
  });

  it('prefers the track’s codec, packetization mode 1 first, and keeps the others', () => {
    const list = [
      codec('video/VP8'),
      codec('video/H264', 'packetization-mode=0'),
      codec('video/H264', 'packetization-mode=1'),
    ];
    expect(preferCodec(list, 'H264')).toEqual([list[2], list[1], list[0]]);
    expect(preferCodec(list, 'VP8')[0]).toBe(list[0]);
  });
});
