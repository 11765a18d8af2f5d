/**
 * Which frame is on the screen, and how old it is (architecture.md section 7, RS-16).
 *
 * In go frame maps (a keyframe's RTP timestamp with its number and capture time) and presented RTP timestamps;
 * out come FrameRefs and capture times. RTP timestamps are u32 in 90 kHz ticks and wrap about every 13 hours.
 */
import type { FrameMap, FrameRef } from './messages';

const TICKS_PER_US = 0.09;
const KEEP = 16;

/** Signed distance `a - b` of two u32 RTP timestamps, right across the wrap. */
export function rtpDistance(a: number, b: number): number {
  return (a - b) | 0;
}

export class FrameClock {
  private maps = new Map<string, FrameMap[]>();

  /** Remember a keyframe's stamp; a new media epoch drops the maps of the old one. */
  add(map: FrameMap): void {
    const known = (this.maps.get(map.track_id) ?? []).filter((old) => old.media_epoch === map.media_epoch);
    known.push(map);
    this.maps.set(map.track_id, known.slice(-KEEP));
  }

  forget(trackId: string): void {
    this.maps.delete(trackId);
  }

  /** The map nearest to a frame, or null when the track has none. */
  nearest(trackId: string, rtp: number): FrameMap | null {
    let best: FrameMap | null = null;
    for (const map of this.maps.get(trackId) ?? []) {
      if (!best || Math.abs(rtpDistance(rtp, map.rtp_timestamp)) < Math.abs(rtpDistance(rtp, best.rtp_timestamp))) {
        best = map;
      }
    }
    return best;
  }

  /** Capture time of a frame in UTC microseconds, or null when no map tells. */
  capturedAt(trackId: string, rtp: number): number | null {
    const map = this.nearest(trackId, rtp);
    return map ? map.captured_at_us + Math.round(rtpDistance(rtp, map.rtp_timestamp) / TICKS_PER_US) : null;
  }

  /** The reference of a presented frame. `frame_no` is exact on a mapped keyframe and left out elsewhere. */
  ref(trackId: string, rtp: number): FrameRef {
    const map = this.nearest(trackId, rtp);
    const ref: FrameRef = { track_id: trackId, rtp_timestamp: rtp >>> 0, media_epoch: map?.media_epoch ?? 0 };
    if (!map) return ref;
    ref.captured_at_us = this.capturedAt(trackId, rtp);
    if (map.rtp_timestamp === rtp >>> 0) ref.frame_no = map.frame_no;
    return ref;
  }

  /**
   * The best guess when the browser does not tell the presented RTP timestamp: the newest map, carried on by
   * the server's clock minus the usual delay. Null when the track has no map.
   */
  guess(trackId: string, server_now_us: number): FrameRef | null {
    const map = this.maps.get(trackId)?.at(-1);
    if (!map) return null;
    const ticks = Math.max(0, Math.round((server_now_us - map.captured_at_us) * TICKS_PER_US));
    return this.ref(trackId, (map.rtp_timestamp + ticks) >>> 0);
  }
}

/**
 * Milliseconds from capture to display. `shown_ms` is our wall clock at display, `offset_ms` the server's clock
 * minus ours. Null when the clocks cannot be right (before the capture, or more than a minute after it).
 */
export function latencyMs(captured_at_us: number, shown_ms: number, offset_ms: number): number | null {
  const latency = shown_ms + offset_ms - captured_at_us / 1000;
  return latency < -20 || latency > 60_000 ? null : Math.max(0, latency);
}
