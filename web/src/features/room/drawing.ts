/**
 * Turns a pointer on the picture into strokes and laser messages, at most 20 messages a second (RS-20, RS-21 allow 25).
 * A pen stroke goes out in pieces of the same id; arrow and ellipse go out when they are finished.
 */
import type { FrameRef, PictureSize, Point, StrokeDraft, StrokeTool } from '@/lib/rtc/messages';

export type Tool = 'laser' | StrokeTool;

export interface DrawingSink {
  send(piece: StrokeDraft, whole: StrokeDraft): void;
  point(at: Point | null): void;
  /** Show a shape that is not finished; null when it is gone. */
  preview(draft: StrokeDraft | null): void;
}

export interface DrawingContext {
  tool: Tool;
  pinned: boolean;
  trackId: string;
  frame: FrameRef;
  /** The size of the picture that is drawn on. */
  picture: PictureSize;
}

const INTERVAL_MS = 50;
const MAX_POINTS = 2_000;

export class Drawing {
  private stroke: StrokeDraft | null = null;
  private sent = 0;
  private lastSent_ms = -Infinity;
  private lastPoint: Point | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private pointing = false;

  constructor(
    private readonly sink: DrawingSink,
    private readonly newId: () => string = () => crypto.randomUUID(),
    private readonly now: () => number = () => performance.now(),
  ) {}

  begin(context: DrawingContext, at: Point): void {
    this.cancel();
    if (context.tool === 'laser' || context.tool === 'text') {
      this.hover(at);
      return;
    }
    this.stroke = {
      id: this.newId(),
      tool: context.tool,
      track_id: context.trackId,
      points: [at],
      picture: context.picture,
      frame: context.frame,
      pinned: context.pinned,
    };
    this.sent = 0;
    this.sink.preview(this.stroke);
  }

  move(at: Point): void {
    const stroke = this.stroke;
    if (!stroke) return;
    if (stroke.tool === 'pen') {
      const last = stroke.points[stroke.points.length - 1];
      if ((last && last[0] === at[0] && last[1] === at[1]) || stroke.points.length >= MAX_POINTS) return;
      stroke.points = [...stroke.points, at];
      this.later(() => this.flush());
    } else stroke.points = [stroke.points[0] ?? at, at];
    this.sink.preview(stroke);
  }

  end(): void {
    const stroke = this.stroke;
    if (!stroke) return;
    clearTimeout(this.timer);
    this.timer = undefined;
    const [from, to] = [stroke.points[0], stroke.points[stroke.points.length - 1]];
    const tiny = !from || !to || Math.hypot(to[0] - from[0], to[1] - from[1]) < 4;
    if (stroke.tool === 'pen' || !tiny) this.flush();
    this.stroke = null;
    this.sink.preview(null);
  }

  /** Put words at a point. */
  write(context: DrawingContext, at: Point, text: string): void {
    const { trackId, frame, picture, pinned } = context;
    const stroke: StrokeDraft = {
      id: this.newId(),
      tool: 'text',
      track_id: trackId,
      points: [at],
      picture,
      text,
      frame,
      pinned,
    };
    this.sink.send(stroke, stroke);
  }

  /** Move the laser. */
  hover(at: Point): void {
    this.lastPoint = at;
    this.pointing = true;
    this.later(() => {
      if (this.lastPoint) this.sink.point(this.lastPoint);
    });
  }

  /** The pointer has left the picture, or the tool has changed. */
  cancel(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    if (this.stroke) this.sink.preview(null);
    this.stroke = null;
    if (this.pointing) this.sink.point(null);
    this.pointing = false;
    this.lastPoint = null;
  }

  private flush(): void {
    const stroke = this.stroke;
    if (!stroke) return;
    const fresh = stroke.tool === 'pen' ? stroke.points.slice(this.sent) : stroke.points;
    if (fresh.length === 0) return;
    this.sent = stroke.points.length;
    this.sink.send({ ...stroke, points: fresh }, stroke);
  }

  private later(act: () => void): void {
    if (this.timer !== undefined) return;
    const wait = Math.max(0, INTERVAL_MS - (this.now() - this.lastSent_ms));
    this.timer = setTimeout(() => {
      this.timer = undefined;
      this.lastSent_ms = this.now();
      act();
    }, wait);
  }
}
