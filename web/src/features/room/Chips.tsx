/** The picture's numbers: delay, pictures per second, size; and whole/1:1. */
import { Chip, type Tone } from '@/kit';
import type { FitMode, Size } from '@/lib/rtc/geometry';
import type { Track } from '@/lib/rtc/messages';
import type { Standing } from './standing';
import { r } from './words';

export interface Numbers {
  frames: number;
  latency_ms: number | null;
  fps: number | null;
}

interface Props {
  numbers: Numbers;
  source: Size;
  track: Track | null;
  fit: FitMode;
  standing: Standing;
  onFit: () => void;
}

function latencyTone(latency_ms: number | null): Tone {
  if (latency_ms === null) return 'neutral';
  return latency_ms <= 200 ? 'ok' : latency_ms <= 300 ? 'warn' : 'bad'; // product.md F4: 200 ms ideal, 300 safe
}

export function Chips({ numbers, source, track, fit, standing, onFit }: Props) {
  const live = standing.kind === 'live';
  const latency = numbers.latency_ms === null ? null : Math.round(numbers.latency_ms);
  const fps = numbers.fps === null ? null : Math.round(numbers.fps);
  return (
    <div className="chips">
      <span className="live-word" data-live={live || undefined}>
        {live ? r('live') : ''}
      </span>
      <span
        title={r('latency_label')}
        data-testid="chip-latency"
        data-latency-ms={live && latency !== null ? latency : undefined}
      >
        <Chip tone={live ? latencyTone(latency) : 'neutral'}>
          <span className="num">{live && latency !== null ? r('latency', { n: latency }) : r('latency_unknown')}</span>
        </Chip>
      </span>
      <span
        title={r('fps_label')}
        data-testid="chip-fps"
        data-fps={numbers.fps?.toFixed(1)}
        data-frames={numbers.frames}
      >
        <Chip tone={live && fps !== null && fps < 20 ? 'warn' : 'neutral'}>
          <span className="num">{r('fps', { n: fps ?? 0 })}</span>
        </Chip>
      </span>
      {source.width > 0 && (
        <span
          className="hide-phone"
          title={`${r('resolution_label')}. ${track ? r('codecs_note', { codec: track.codec }) : ''}`}
          data-testid="chip-size"
        >
          <Chip>
            <span className="num">
              {source.width}×{source.height}
            </span>
          </Chip>
        </span>
      )}
      <button type="button" className="chip chip-button" data-testid="btn-fit" data-fit={fit} onClick={onFit}>
        {fit === 'fit' ? r('one') : r('fit')}
      </button>
    </div>
  );
}
