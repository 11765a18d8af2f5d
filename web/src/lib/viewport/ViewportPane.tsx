/**
 * One picture area on the page: canvas, gestures, the words around the picture and its state as data attributes.
 * It makes the lite Viewport and hands it to its parent, which sends it orders.
 */
import { useEffect, useRef, useState } from 'react';
import { Icon } from '@/kit';
import { ApiError } from '@/lib/problem';
import { reasonOf } from '@/lib/reason';
import { naturalWindow } from './dicom';
import { bindGestures, type DragTool } from './gestures';
import { LiteViewport } from './lite';
import type { DisplaySet } from './study';
import type { Viewport, ViewportState } from './viewport';
import { v } from './words';
import './viewport.css';

interface Props {
  set: DisplaySet | null;
  start?: { sopInstanceUid: string; frame?: number } | undefined;
  tool?: DragTool;
  /** The phone's layout: smaller stores, "reference only". */
  small?: boolean;
  /** Do not start clips by themselves. */
  still?: boolean;
  active?: boolean;
  testId?: string;
  /** Why there is no set, in words; shown when `set` is null. */
  emptyText?: string | undefined;
  onViewport?: (viewport: Viewport | null) => void;
  onActivate?: () => void;
}

export function ViewportPane(props: Props) {
  const { set, start, tool = 'scroll', small = false, still = false, active, testId = 'viewport', onViewport } = props;
  const host = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const [viewport, setViewport] = useState<LiteViewport | null>(null);
  const toolNow = useRef(tool);
  toolNow.current = tool;

  useEffect(() => {
    if (!host.current || !canvas.current) return;
    const lite = new LiteViewport(canvas.current, { small, still });
    const unbind = bindGestures(host.current, lite, () => toolNow.current);
    const watch = new ResizeObserver(() => lite.resize());
    watch.observe(host.current);
    setViewport(lite);
    onViewport?.(lite);
    return () => {
      onViewport?.(null);
      watch.disconnect();
      unbind();
      lite.dispose();
    };
  }, []);

  useEffect(() => {
    viewport?.open(set?.instances ?? [], start);
  }, [viewport, set, start?.sopInstanceUid, start?.frame]);

  const state = viewport?.state.value;
  const shown = state?.instance ?? null;
  const window = state?.window ?? (shown ? naturalWindow(shown) : null);
  return (
    <div
      ref={host}
      className="viewport"
      data-testid={testId}
      data-active={active || undefined}
      data-state={state?.status.kind ?? 'empty'}
      data-quality={state?.status.kind === 'ready' ? state.status.quality : undefined}
      data-engine={state?.engine}
      data-frame={state ? state.index + 1 : 0}
      data-frames={state?.count ?? 0}
      data-playing={state?.playing ?? false}
      data-window-center={window ? Math.round(window.center) : undefined}
      data-window-width={window ? Math.round(window.width) : undefined}
      data-invert={state?.invert ?? false}
      data-mirrored={state?.mirrored ?? false}
      data-degrees={state?.degrees ?? 0}
      data-scale={state?.scale.toFixed(3)}
      tabIndex={0}
      role="img"
      aria-label={describe(state)}
      onPointerDown={props.onActivate}
      onFocus={props.onActivate}
    >
      <canvas ref={canvas} />
      {state && state.count > 0 && <Corners state={state} small={small} />}
      {state && <Middle state={state} emptyText={props.emptyText} onRetry={() => viewport?.retry()} />}
    </div>
  );
}

function describe(state: ViewportState | undefined): string {
  if (!state || state.count === 0) return v('viewport');
  return [v('viewport'), v('frame', { n: state.index + 1, count: state.count }), ...changes(state)].join('. ');
}

function Corners({ state, small }: { state: ViewportState; small: boolean }) {
  const { instance } = state;
  const changed = changes(state);
  const window = state.window ?? (instance ? naturalWindow(instance) : null);
  return (
    <>
      <span className="vp-corner vp-tl">
        {instance?.modality} <b className="num">{state.index + 1}</b>/<span className="num">{state.count}</span>
      </span>
      <span className="vp-corner vp-tr">{quality(state)}</span>
      {changed.length > 0 && (
        <strong className="vp-corner vp-changed" data-testid="picture-changed">
          {changed.join(' · ')}
        </strong>
      )}
      {window && (
        <span className="vp-corner vp-bl num">
          {v('window', { center: Math.round(window.center), width: Math.round(window.width) })}
        </span>
      )}
      <span className="vp-corner vp-br num">
        {small ? v('reference_short') : `${Math.round(state.scale * (globalThis.devicePixelRatio || 1) * 100)} %`}
      </span>
    </>
  );
}

/** What was done to the picture that a reader must know: it is not shown as stored. */
function changes({ mirrored, degrees, invert }: ViewportState): string[] {
  const words: string[] = [];
  if (mirrored) words.push(degrees === 180 ? v('mirrored_v') : v('mirrored'));
  if (degrees !== 0 && !(mirrored && degrees === 180)) words.push(v('turned', { n: degrees }));
  if (invert) words.push(v('inverted'));
  return words;
}

function quality(state: ViewportState): string {
  if (state.status.kind !== 'ready') return '';
  if (state.status.quality === 'preview') return v('preview');
  const { instance } = state;
  if (!instance?.lossy) return v('full');
  return instance.lossyRatio ? v('full_lossy', { ratio: Math.round(instance.lossyRatio) }) : v('full_lossy_plain');
}

function Middle({
  state,
  emptyText,
  onRetry,
}: {
  state: ViewportState;
  emptyText?: string | undefined;
  onRetry: () => void;
}) {
  const { status } = state;
  switch (status.kind) {
    case 'ready':
      return null;
    case 'empty':
      return <p className="vp-middle">{emptyText ?? v('empty')}</p>;
    case 'loading':
      return (
        <p className="vp-middle vp-wait" role="status">
          {v('loading')}
        </p>
      );
    case 'buffering':
      return (
        <p className="vp-middle vp-low vp-wait" role="status">
          {v('buffering')}
        </p>
      );
    case 'error':
      return (
        <div className="vp-middle vp-error" role="alert">
          <Icon name="warn" />
          <strong>{v('failed')}</strong>
          <span>{reason(status.error)}</span>
          <button type="button" className="btn" onClick={onRetry}>
            {v('retry')}
          </button>
        </div>
      );
  }
}

function reason(error: unknown): string {
  if (error instanceof ApiError) return reasonOf(error);
  return v('failed_decode');
}
