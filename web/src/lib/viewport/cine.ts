/** When which frame of a clip is due, from its stored frame times (PS3.3 C.7.6.5). Pure. */
export interface CineTiming {
  /** Milliseconds at which each frame begins; one more entry for the end of the loop. */
  starts_ms: readonly number[];
}

const DEFAULT_FRAME_MS = 1000 / 25;

/** Build the timing of `frames` frames from a frame time, a vector of increments, or a default of 25 per second. */
export function cineTiming(
  frames: number,
  frameTime_ms?: number | null,
  vector_ms?: readonly number[] | null,
): CineTiming {
  const fallback = frameTime_ms && frameTime_ms > 0 ? frameTime_ms : DEFAULT_FRAME_MS;
  const starts: number[] = [0];
  for (let i = 1; i <= frames; i++) {
    // The vector's entry i is the time from frame i-1 to frame i; the loop's end has no entry of its own.
    const step = vector_ms?.[i] ?? (vector_ms && vector_ms.length > 1 ? vector_ms[vector_ms.length - 1] : undefined);
    starts.push((starts[i - 1] ?? 0) + (step && step > 0 ? step : fallback));
  }
  return { starts_ms: starts };
}

export function loopMs(timing: CineTiming): number {
  return timing.starts_ms[timing.starts_ms.length - 1] ?? 0;
}

/** The frame due `elapsed_ms` after the loop's start, going round and round. */
export function frameAt(timing: CineTiming, elapsed_ms: number): number {
  const loop = loopMs(timing);
  if (loop <= 0) return 0;
  const at = ((elapsed_ms % loop) + loop) % loop;
  let low = 0;
  let high = timing.starts_ms.length - 2;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((timing.starts_ms[middle] ?? 0) <= at) low = middle;
    else high = middle - 1;
  }
  return low;
}

/**
 * Plays a timing against a clock that waits for late frames: the loop's time stands still while the due frame is
 * not ready, so nothing is skipped only because the network was slow.
 */
export class CineClock {
  private origin_ms = 0;

  constructor(
    private readonly timing: CineTiming,
    from: number,
    now_ms: number,
  ) {
    this.origin_ms = now_ms - (timing.starts_ms[from] ?? 0);
  }

  due(now_ms: number): number {
    return frameAt(this.timing, now_ms - this.origin_ms);
  }

  /** Hold the clock at a frame: it becomes due now. */
  hold(frame: number, now_ms: number): void {
    this.origin_ms = now_ms - (this.timing.starts_ms[frame] ?? 0);
  }
}
