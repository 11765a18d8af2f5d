/** Play, step and scrub below a picture area; words in labels, 44 px on touch. */
import { Icon } from '@/kit';
import type { Viewport } from './viewport';
import { v } from './words';

export function CineBar({ viewport }: { viewport: Viewport | null }) {
  const state = viewport?.state.value;
  if (!viewport || !state || state.count < 2) return null;
  const { index, count, playing } = state;
  return (
    <div className="cine" role="group" aria-label={v('frame', { n: index + 1, count })}>
      <button
        type="button"
        className="btn btn-quiet btn-icon"
        data-testid="cine-toggle"
        aria-pressed={playing}
        aria-label={playing ? v('pause') : v('play')}
        title={`${playing ? v('pause') : v('play')} (c)`}
        onClick={() => viewport.play()}
      >
        <svg className="icon" viewBox="0 0 24 24" aria-hidden="true">
          <path d={playing ? 'M8 5v14M16 5v14' : 'M7 4.5v15l12-7.5z'} />
        </svg>
      </button>
      <button
        type="button"
        className="btn btn-quiet btn-icon"
        aria-label={v('previous')}
        onClick={() => viewport.step(-1)}
      >
        <Icon name="back" />
      </button>
      <input
        type="range"
        min={1}
        max={count}
        value={index + 1}
        aria-label={v('position')}
        onInput={(event) => {
          viewport.play(false);
          viewport.seek(Number(event.currentTarget.value) - 1);
        }}
      />
      <button type="button" className="btn btn-quiet btn-icon" aria-label={v('next')} onClick={() => viewport.step(1)}>
        <Icon name="arrow" />
      </button>
      <span className="num small cine-count">
        {index + 1}/{count}
      </span>
    </div>
  );
}
