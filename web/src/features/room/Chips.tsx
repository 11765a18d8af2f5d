/** The picture's numbers: delay, pictures per second, size; and whole/1:1. */
import { Chip, Icon, type Tone } from '@/kit';
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
  held: boolean;
  onFit: () => void;
  onHold: () => void;
}

/** Below this the clocks of two machines do not agree well enough for a number. */
const LEAST_MS = 10;

function latencyTone(latency_ms: number | null): Tone {
  if (latency_ms === null || latency_ms < LEAST_MS) return 'neutral';
  return latency_ms <= 200 ? 'ok' : latency_ms <= 300 ? 'warn' : 'bad'; // product.md F4: 200 ms ideal, 300 safe
}

function latencyWord(latency_ms: number | null): string {
  if (latency_ms === null) return r('latency_unknown');
  return latency_ms < LEAST_MS ? r('latency_least', { n: LEAST_MS }) : r('latency', { n: latency_ms });
}

export function Chips({ numbers, source, track, fit, standing, held, onFit, onHold }: Props) {
  return (
    <div className="chips" data-held={standing.kind === 'held' || undefined}>
      {standing.kind === 'held' ? (
        <strong className="held-words" role="status" data-testid="room-held">
          <Icon name="clock" />
          {r('held', { n: standing.seconds })}
        </strong>
      ) : (
        <LiveNumbers numbers={numbers} source={source} track={track} standing={standing} />
      )}
      <span className="grow" />
      <button
        type="button"
        className="chip chip-button hide-phone"
        data-testid="btn-hold"
        aria-pressed={held}
        title={`${r('key_space')} (space)`}
        onClick={onHold}
      >
        {held ? r('go_on') : r('hold')}
      </button>
      <button type="button" className="chip chip-button" data-testid="btn-fit" data-fit={fit} onClick={onFit}>
        {fit === 'fit' ? r('one') : r('fit')}
      </button>
    </div>
  );
}

function LiveNumbers({ numbers, source, track, standing }: Pick<Props, 'numbers' | 'source' | 'track' | 'standing'>) {
  const live = standing.kind === 'live';
  const latency = numbers.latency_ms === null ? null : Math.round(numbers.latency_ms);
  const fps = numbers.fps === null ? null : Math.round(numbers.fps);
  return (
    <>
      <span className="live-word" data-live={live || undefined}>
        {live ? r('live') : ''}
      </span>
      <span
        title={r('latency_label')}
        data-testid="chip-latency"
        data-latency-ms={live && latency !== null ? latency : undefined}
      >
        <Chip tone={live ? latencyTone(latency) : 'neutral'}>
          <span className="num">{latencyWord(live ? latency : null)}</span>
        </Chip>
      </span>
      <span
        title={r('fps_label')}
        data-testid="chip-fps"
        data-fps={numbers.fps?.toFixed(1)}
        data-frames={numbers.frames}
      >
        {fps !== null && (
          <Chip tone={live && fps < 20 ? 'warn' : 'neutral'}>
            <span className="num">{r('fps', { n: fps })}</span>
          </Chip>
        )}
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
    </>
  );
}
