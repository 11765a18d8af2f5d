/**
 * The live picture: never cropped, with the drawings over it, its numbers, and loud words when it is not live.
 * The video element, the canvas and the frame watch live here; other parts reach them through the StageHandle.
 */
import { useEffect, useMemo, useRef, useState } from 'react';
import { place, toSource, type FitMode, type Placement, type Size } from '@/lib/rtc/geometry';
import { FrameWatch } from '@/lib/rtc/frame-watch';
import { latencyMs } from '@/lib/rtc/frame-clock';
import type { FrameRef, PictureSize, Point, StrokeDraft } from '@/lib/rtc/messages';
import { may } from '@/lib/roles';
import { Drawing, type DrawingContext, type Tool } from './drawing';
import type { RoomSession } from './session';
import { Chips, type Numbers } from './Chips';
import { PictureState } from './PictureState';
import { stand, type Standing } from './standing';
import { useOverlay } from './useOverlay';
import { r } from './words';

export interface StageHandle {
  /** The frame on the screen now; null when there is none. */
  frame(): FrameRef | null;
}

interface Props {
  session: RoomSession;
  tool: Tool;
  pinned: boolean;
  fit: FitMode;
  held: boolean;
  showStrokes: boolean;
  phone: boolean;
  handle: { current: StageHandle | null };
  onFit: () => void;
  onHold: () => void;
}

const TICK_MS = 250;
const NO_SIZE: Size = { width: 0, height: 0 };

export function Stage(props: Props) {
  const { session, tool, pinned, fit, held, showStrokes, handle } = props;
  const box = useRef<HTMLDivElement>(null);
  const video = useRef<HTMLVideoElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const watch = useRef<FrameWatch | null>(null);
  const [boxSize, setBoxSize] = useState(NO_SIZE);
  const [source, setSource] = useState(NO_SIZE);
  const [standing, setStanding] = useState<Standing>({ kind: 'connecting' });
  const [numbers, setNumbers] = useState<Numbers>({ frames: 0, latency_ms: null, fps: null });
  const [writeAt, setWriteAt] = useState<Point | null>(null);
  const draft = useRef<StrokeDraft | null>(null);
  const shown = useRef<PictureSize>([1, 1]);
  if (source.width > 0) shown.current = [source.width, source.height];
  const track = session.primary.value;
  const receiver = track ? session.receivers.value.get(track.id) : undefined;
  const trackId = track?.id ?? '';
  const ratio = globalThis.devicePixelRatio || 1;
  const placement = useMemo(() => place(source, boxSize, fit, ratio), [source, boxSize, fit, ratio]);

  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const observer = new ResizeObserver(() => setBoxSize({ width: element.clientWidth, height: element.clientHeight }));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);

  // A new receiver replaces the picture only when it has one: until then the old frame stands under the FROZEN words.
  useEffect(() => {
    const element = video.current;
    if (!element || !receiver) return;
    element.srcObject = new MediaStream([receiver.track]);
    void element.play().catch(() => undefined); // muted playback is allowed; a refusal shows as "no picture"
  }, [receiver?.track]);

  useEffect(() => {
    const element = video.current;
    if (!element) return;
    const measure = () => {
      if (element.videoWidth > 0) setSource({ width: element.videoWidth, height: element.videoHeight });
    };
    element.addEventListener('resize', measure);
    element.addEventListener('loadedmetadata', measure);
    const frames = new FrameWatch(element);
    watch.current = frames;
    return () => {
      frames.stop();
      element.removeEventListener('resize', measure);
      element.removeEventListener('loadedmetadata', measure);
    };
  }, []);

  useEffect(() => {
    const element = video.current;
    if (held) element?.pause();
    else if (element?.srcObject) void element.play().catch(() => undefined);
  }, [held]);

  const currentFrame = (): FrameRef | null => {
    const rtp = watch.current?.last?.rtp ?? receiver?.getSynchronizationSources?.()[0]?.rtpTimestamp ?? null;
    if (trackId === '' || watch.current?.frames === 0) return null;
    if (rtp !== null) return session.clock.ref(trackId, rtp);
    return session.clock.guess(trackId, (Date.now() + session.offset_ms) * 1000);
  };
  handle.current = { frame: currentFrame };

  useEffect(() => {
    let decoded = -1;
    let decodedAt = 0;
    let fps: number | null = null;
    const readStats = async () => {
      const stats = await receiver?.getStats();
      stats?.forEach((entry: { type: string; framesDecoded?: number; timestamp: number }) => {
        if (entry.type !== 'inbound-rtp' || entry.framesDecoded === undefined) return;
        if (decoded >= 0 && entry.timestamp > decodedAt) {
          fps = Math.max(0, ((entry.framesDecoded - decoded) * 1000) / (entry.timestamp - decodedAt));
        }
        decoded = entry.framesDecoded;
        decodedAt = entry.timestamp;
      });
    };
    let turn = 0;
    const tick = () => {
      if (turn++ % 4 === 0) void readStats().catch(() => undefined); // a closed receiver has no numbers
      const last = watch.current?.last;
      const captured = last && last.rtp !== null ? session.clock.capturedAt(trackId, last.rtp) : null;
      setNumbers({
        frames: watch.current?.frames ?? 0,
        latency_ms: captured !== null && last ? latencyMs(captured, last.shown_ms, session.offset_ms) : null,
        fps,
      });
      const now = stand(session, watch.current?.age() ?? null, held, watch.current?.overdue());
      setStanding(now);
      session.standing.value = now.kind;
    };
    tick();
    const timer = setInterval(tick, TICK_MS);
    return () => clearInterval(timer);
  }, [receiver, trackId, held, session]);

  useOverlay(session, canvas, placement, source, trackId, draft, showStrokes);

  const drawing = useMemo(
    () =>
      new Drawing({
        send: (piece, whole) => session.draw(piece, whole),
        point: (at) => session.point(session.primary.peek()?.id ?? '', at, shown.current),
        preview: (shape) => {
          draft.current = shape;
          session.onCanvas();
        },
      }),
    [session],
  );
  useEffect(() => () => drawing.cancel(), [drawing, tool]);

  const context = (): DrawingContext => ({
    tool,
    pinned,
    trackId,
    picture: shown.current,
    frame: currentFrame() ?? { track_id: trackId, rtp_timestamp: 0, media_epoch: 0 },
  });
  const at = (event: PointerEvent): Point => {
    const rect = canvas.current?.getBoundingClientRect();
    const inside: Placement = { ...placement, x: 0, y: 0 };
    return toSource(inside, source, event.clientX - (rect?.left ?? 0), event.clientY - (rect?.top ?? 0));
  };
  const mayDraw = may('room.draw') && trackId !== '' && source.width > 0;

  return (
    <div className="stage" data-fit={fit} data-held={standing.kind === 'held' || undefined}>
      <div className="stage-area">
        <div className="stage-box" ref={box}>
          <div
            className="picture"
            style={{
              left: `${placement.x}px`,
              top: `${placement.y}px`,
              width: `${placement.width}px`,
              height: `${placement.height}px`,
            }}
          >
            <video
              ref={video}
              muted
              playsInline
              autoPlay
              data-testid="room-video"
              data-frames={numbers.frames}
              data-width={source.width}
              data-height={source.height}
              data-track={trackId}
              data-standing={standing.kind}
            />
            <canvas
              ref={canvas}
              data-testid="room-overlay"
              data-tool={mayDraw ? tool : 'none'}
              data-strokes={0}
              aria-label={r('tools')}
              onPointerDown={(event) => {
                if (!mayDraw || event.button !== 0) return;
                if (tool === 'text') return setWriteAt(at(event));
                event.currentTarget.setPointerCapture(event.pointerId);
                drawing.begin(context(), at(event));
              }}
              onPointerMove={(event) => {
                if (!mayDraw) return;
                if (tool === 'laser') drawing.hover(at(event));
                else for (const step of event.getCoalescedEvents?.() ?? [event]) drawing.move(at(step));
              }}
              onPointerUp={(event) => {
                drawing.end();
                if (event.pointerType !== 'mouse') drawing.cancel();
              }}
              onPointerCancel={() => drawing.cancel()}
              onPointerLeave={() => tool === 'laser' && drawing.cancel()}
            />
            {writeAt && (
              <TextEntry
                placement={placement}
                at={writeAt}
                onDone={(text) => {
                  if (text) drawing.write(context(), writeAt, text);
                  setWriteAt(null);
                }}
              />
            )}
          </div>
        </div>
        <PictureState session={session} standing={standing} />
      </div>
      <Chips
        numbers={numbers}
        source={source}
        track={track}
        fit={fit}
        standing={standing}
        held={held}
        onFit={props.onFit}
        onHold={props.onHold}
      />
    </div>
  );
}

function TextEntry({ placement, at, onDone }: { placement: Placement; at: Point; onDone: (text: string) => void }) {
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => input.current?.focus(), []);
  return (
    <input
      ref={input}
      className="stroke-text"
      maxLength={80}
      placeholder={r('text_placeholder')}
      style={{ left: `${at[0] * placement.scale}px`, top: `${at[1] * placement.scale}px` }}
      onKeyDown={(event) => {
        if (event.key === 'Enter') onDone(event.currentTarget.value.trim());
        if (event.key === 'Escape') onDone('');
      }}
      onBlur={(event) => onDone(event.currentTarget.value.trim())}
    />
  );
}
