/**
 * Watches a video element for presented frames: which (RTP timestamp), when, how many. The source of the FROZEN
 * banner, of the latency and of frame references. Falls back to counting where requestVideoFrameCallback is absent.
 */
export interface PresentedFrame {
  /** Null when the browser does not tell. */
  rtp: number | null;
  /** Wall clock at display, milliseconds since the epoch. */
  shown_ms: number;
}

interface CallbackMetadata {
  presentedFrames: number;
  expectedDisplayTime: number;
  rtpTimestamp?: number;
}
interface CallbackVideo {
  requestVideoFrameCallback?(callback: (now: number, metadata: CallbackMetadata) => void): number;
  cancelVideoFrameCallback?(handle: number): void;
}

const POLL_MS = 100;

export class FrameWatch {
  /** Frames presented since the start. */
  frames = 0;
  last: PresentedFrame | null = null;
  private since_ms: number | null = null;
  /** When the page last came back to the front. */
  private visible_ms = -Infinity;
  private handle = 0;
  private poll: ReturnType<typeof setInterval> | undefined;
  private base = -1;
  private readonly video: Omit<HTMLVideoElement, keyof CallbackVideo> & CallbackVideo;

  constructor(
    video: HTMLVideoElement,
    private readonly onFrame: (frame: PresentedFrame) => void = () => undefined,
    private readonly now: () => number = () => performance.now(),
  ) {
    this.video = video;
    if (this.video.requestVideoFrameCallback) this.next();
    else this.poll = setInterval(() => this.count(), POLL_MS);
    document.addEventListener('visibilitychange', this.seen);
  }

  /** Milliseconds since a frame was presented; null before the first. The truth, also after the page was hidden. */
  age(): number | null {
    return this.since_ms === null ? null : this.now() - this.since_ms;
  }

  /**
   * Milliseconds for which a frame was due and none came: a hidden page presents nothing, so from its return on.
   * Tells live from frozen, never how old the picture is.
   */
  overdue(): number | null {
    return this.since_ms === null ? null : this.now() - Math.max(this.since_ms, this.visible_ms);
  }

  stop(): void {
    if (this.handle) this.video.cancelVideoFrameCallback?.(this.handle);
    clearInterval(this.poll);
    document.removeEventListener('visibilitychange', this.seen);
  }

  private next(): void {
    this.handle =
      this.video.requestVideoFrameCallback?.((_, metadata) => {
        // The browser's count starts anew with each source of the element; ours goes on.
        this.frames +=
          metadata.presentedFrames > this.base && this.base >= 0 ? metadata.presentedFrames - this.base : 1;
        this.base = metadata.presentedFrames;
        this.present(metadata.rtpTimestamp ?? null, performance.timeOrigin + metadata.expectedDisplayTime);
        this.next();
      }) ?? 0;
  }

  private count(): void {
    const total = this.video.getVideoPlaybackQuality?.().totalVideoFrames ?? 0;
    const before = Math.max(this.base, 0);
    this.base = total;
    if (total === before) return;
    this.frames += Math.max(1, total - before);
    if (total > 0) this.present(null, Date.now());
  }

  private present(rtp: number | null, shown_ms: number): void {
    this.since_ms = this.now();
    this.last = { rtp, shown_ms };
    this.onFrame(this.last);
  }

  private readonly seen = (): void => {
    if (document.visibilityState === 'visible') this.visible_ms = this.now();
  };
}
