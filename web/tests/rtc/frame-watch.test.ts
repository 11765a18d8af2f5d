/** Counting presented frames, with and without requestVideoFrameCallback. */
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { FrameWatch } from '@/lib/rtc/frame-watch';

type Callback = (
  now: number,
  metadata: { presentedFrames: number; expectedDisplayTime: number; rtpTimestamp?: number },
) => void;

let now = 0;
beforeEach(() => {
  now = 1_000;
  vi.useFakeTimers();
});
afterEach(() => vi.useRealTimers());

it('counts on when the element gets a new source, and tells the age of the last frame', () => {
  let pending: Callback = () => undefined;
  const video = {
    requestVideoFrameCallback: (callback: Callback) => ((pending = callback), 1),
    cancelVideoFrameCallback: () => undefined,
  };
  const watch = new FrameWatch(video as unknown as HTMLVideoElement, undefined, () => now);
  expect(watch.age()).toBeNull();
  pending(0, { presentedFrames: 7, expectedDisplayTime: 5, rtpTimestamp: 900 });
  pending(0, { presentedFrames: 9, expectedDisplayTime: 5, rtpTimestamp: 6_900 });
  expect(watch.frames).toBe(3);
  pending(0, { presentedFrames: 1, expectedDisplayTime: 5 });
  expect(watch.frames).toBe(4);
  expect(watch.last?.rtp).toBeNull();
  now += 1_500;
  expect(watch.age()).toBe(1_500);
  watch.stop();
});

it('keeps the true age through a tab switch; only what is overdue counts from the return', () => {
  let pending: Callback = () => undefined;
  const video = {
    requestVideoFrameCallback: (callback: Callback) => ((pending = callback), 1),
    cancelVideoFrameCallback: () => undefined,
  };
  const watch = new FrameWatch(video as unknown as HTMLVideoElement, undefined, () => now);
  pending(0, { presentedFrames: 1, expectedDisplayTime: 5 });
  now += 30_000;
  document.dispatchEvent(new Event('visibilitychange')); // happy-dom's page is visible
  now += 400;
  expect(watch.age()).toBe(30_400);
  expect(watch.overdue()).toBe(400);
  pending(0, { presentedFrames: 2, expectedDisplayTime: 5 });
  now += 50;
  expect([watch.age(), watch.overdue()]).toEqual([50, 50]);
  watch.stop();
});

it('falls back to the playback count', () => {
  let total = 0;
  const video = { getVideoPlaybackQuality: () => ({ totalVideoFrames: total }) };
  const watch = new FrameWatch(video as unknown as HTMLVideoElement, undefined, () => now);
  vi.advanceTimersByTime(300);
  expect(watch.age()).toBeNull();
  total = 4;
  vi.advanceTimersByTime(100);
  total = 6;
  vi.advanceTimersByTime(100);
  expect(watch.frames).toBe(6);
  expect(watch.age()).toBe(0);
  now += 3_000;
  vi.advanceTimersByTime(500);
  expect(watch.age()).toBe(3_000);
  watch.stop();
});
