/**
 * The lite viewport: a stack of frames on one canvas, drawn by WebGL2 or, without it, by canvas2d.
 *
 * Frames come from a FrameLoader (preview first, then the stored pixels); the state goes out as one signal.
 * It owns its canvas's engine, its loader and its animation frame; `dispose()` releases all three.
 */
import { signal } from '@preact/signals';
import { CineClock, cineTiming } from './cine';
import { bestQuality, firstQuality, FrameLoader, type FetchBody, type Quality, type Want } from './frames';
import { isDeep, windowOf, type Instance } from './dicom';
import { canvasEngine } from './render-2d';
import { webglEngine } from './render-webgl';
import { order, type DrawOrder, type Engine } from './render';
import { fitScale, orientation, toBox, UPRIGHT, zoomAt, type Affine, type Box, type View } from './transform';
import type { Viewport, ViewportState } from './viewport';
import type { Window } from './window';

interface Slot {
  instance: Instance;
  frame: number;
}

export interface LiteOptions {
  /** Phones get smaller stores. */
  small?: boolean;
  /** Still pictures are not played when this is set (key images, comparison). */
  still?: boolean;
  fetchBody?: FetchBody;
}

const MB = 1024 * 1024;
const STACK_FRAME_MS = 100;
const SETTLE_MS = 180;
const BLANK_AFTER_MS = 150;
const LATE_MS = 400;

export class LiteViewport implements Viewport {
  readonly state = signal<ViewportState>({
    status: { kind: 'empty' },
    index: 0,
    count: 0,
    playing: false,
    window: null,
    invert: false,
    mirrored: false,
    degrees: 0,
    scale: 1,
    engine: 'canvas2d',
    instance: null,
    frame: 1,
  });
  private readonly engine: Engine;
  private readonly loader: FrameLoader;
  private slots: Slot[] = [];
  private view: View = { scale: 1, panX: 0, panY: 0, ...UPRIGHT };
  private fitMode: 'fit' | 'one' | null = 'fit';
  private box: Box = { width: 0, height: 0 };
  private clock: CineClock | null = null;
  private direction = 1;
  private raf = 0;
  private dirty = false;
  private settled = true;
  private settleTimer: ReturnType<typeof setTimeout> | undefined;
  private blankTimer: ReturnType<typeof setTimeout> | undefined;
  private lateSince = 0;
  private disposed = false;
  private drawn: string | null = null;

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly options: LiteOptions = {},
  ) {
    const restored = () => {
      this.drawn = null;
      this.redraw();
    };
    this.engine = webglEngine(canvas, restored) ?? canvasEngine(canvas);
    this.loader = new FrameLoader(
      {
        encoded_limit_bytes: (options.small ? 48 : 192) * MB,
        decoded_limit_bytes: (options.small ? 40 : 128) * MB,
        parallel: 4,
        ...(options.fetchBody ? { fetchBody: options.fetchBody } : {}),
      },
      () => this.redraw(),
    );
    this.update({ engine: this.engine.name });
    this.resize();
  }

  open(instances: readonly Instance[], start?: { sopInstanceUid: string; frame?: number }): void {
    this.slots = instances.flatMap((instance) =>
      Array.from({ length: instance.frames }, (_, i) => ({ instance, frame: i + 1 })),
    );
    const at = start
      ? this.slots.findIndex(
          (slot) => slot.instance.sopInstanceUid === start.sopInstanceUid && slot.frame === (start.frame ?? 1),
        )
      : 0;
    this.turnTo(UPRIGHT);
    this.fitMode = 'fit';
    this.clock = null;
    this.lateSince = performance.now();
    const isClip = instances.length === 1 && (instances[0]?.frames ?? 1) > 1;
    this.update({ index: Math.max(0, at), count: this.slots.length, window: null, invert: false, playing: false });
    this.update({ status: this.slots.length > 0 ? { kind: 'loading' } : { kind: 'empty' } });
    if (isClip && !start?.frame && !this.options.still) this.play(true);
    this.moved();
  }

  seek(index: number): void {
    const held = Math.min(Math.max(0, Math.round(index)), Math.max(0, this.slots.length - 1));
    const { index: before } = this.state.peek();
    if (held === before) return;
    this.direction = held > before ? 1 : -1;
    this.update({ index: held });
    this.clock?.hold(held, performance.now());
    this.lateSince = performance.now();
    this.moved();
  }

  step(by: number): void {
    if (this.state.peek().playing) this.play(false);
    this.seek(this.state.peek().index + by);
  }

  play(on = !this.state.peek().playing): void {
    const playing = on && this.slots.length > 1;
    const first = this.slots[0]?.instance;
    if (playing && first) {
      const clip = first.frames > 1;
      const timing = clip
        ? cineTiming(this.slots.length, first.frameTime_ms, first.frameTimeVector_ms)
        : cineTiming(this.slots.length, STACK_FRAME_MS);
      this.clock = new CineClock(timing, this.state.peek().index, performance.now());
      this.direction = 1;
    } else this.clock = null;
    this.update({ playing });
    this.moved();
  }

  setWindow(window: Window | null): void {
    this.update({ window });
    this.redraw();
  }

  setInvert(on: boolean): void {
    this.update({ invert: on });
    this.redraw();
  }

  zoomBy(factor: number, at = { x: this.box.width / 2, y: this.box.height / 2 }): void {
    this.fitMode = null;
    this.view = zoomAt(this.view, this.box, factor, at);
    this.redraw();
  }

  panBy(dx: number, dy: number): void {
    this.fitMode = null;
    this.view = { ...this.view, panX: this.view.panX + dx, panY: this.view.panY + dy };
    this.redraw();
  }

  fit(mode: 'fit' | 'one'): void {
    this.fitMode = mode;
    this.redraw();
  }

  rotate(quarterTurns: number): void {
    this.turnTo({ turns: (((this.view.turns + quarterTurns) % 4) + 4) % 4 });
    this.redraw();
  }

  /** Flip what the eye sees: on a picture turned on its side, the other axis of the picture. */
  flip(axis: 'h' | 'v'): void {
    const sideways = this.view.turns % 2 === 1;
    const key = (axis === 'h') !== sideways ? 'flipH' : 'flipV';
    this.turnTo({ [key]: !this.view[key] });
    this.redraw();
  }

  reset(): void {
    this.turnTo(UPRIGHT);
    this.fitMode = 'fit';
    this.update({ window: null, invert: false });
    this.redraw();
  }

  retry(): void {
    this.lateSince = performance.now();
    this.loader.retry();
    this.moved();
  }

  resize(): void {
    const ratio = globalThis.devicePixelRatio || 1;
    this.box = { width: this.canvas.clientWidth, height: this.canvas.clientHeight };
    const width = Math.max(1, Math.round(this.box.width * ratio));
    const height = Math.max(1, Math.round(this.box.height * ratio));
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width; // this clears the canvas
      this.canvas.height = height;
      this.drawn = null;
    }
    this.redraw();
  }

  dispose(): void {
    this.disposed = true;
    cancelAnimationFrame(this.raf);
    clearTimeout(this.settleTimer);
    clearTimeout(this.blankTimer);
    this.loader.dispose();
    this.engine.dispose();
  }

  private turnTo(change: Partial<Pick<View, 'turns' | 'flipH' | 'flipV'>>): void {
    this.view = { ...this.view, ...change };
    this.update(orientation(this.view));
  }

  private update(change: Partial<ViewportState>): void {
    this.state.value = { ...this.state.peek(), ...change };
  }

  /** The position changed: state the new wants, and ask for full quality once the person stops moving. */
  private moved(): void {
    this.settled = false;
    clearTimeout(this.settleTimer);
    this.settleTimer = setTimeout(() => {
      this.settled = true;
      this.loader.want(this.wants());
    }, SETTLE_MS);
    this.loader.want(this.wants());
    this.redraw();
  }

  /** What to fetch, most urgent first: this frame, then where the movement goes, then a little behind. */
  private wants(): Want[] {
    const { index, playing } = this.state.peek();
    const here = this.slots[index];
    if (!here) return [];
    const list: Want[] = [this.wantAt(index, firstQuality(here.instance))];
    const full = this.settled && !playing;
    if (full) list.push(this.wantAt(index, bestQuality(here.instance)));
    const reach = this.reach(playing);
    for (let i = 1; i <= reach; i++) {
      const ahead = index + i * this.direction;
      const at = playing ? ((ahead % this.slots.length) + this.slots.length) % this.slots.length : ahead;
      const slot = this.slots[at];
      if (slot) list.push(this.wantAt(at, firstQuality(slot.instance)));
      const back = this.slots[index - i * this.direction];
      if (!playing && back && i <= 4) list.push(this.wantAt(index - i * this.direction, firstQuality(back.instance)));
    }
    if (full && isDeep(here.instance)) {
      for (const i of [1, -1, 2, -2]) if (this.slots[index + i]) list.push(this.wantAt(index + i, 'full'));
    }
    return list;
  }

  private reach(playing: boolean): number {
    const limit = this.options.small ? 48 : 120;
    return Math.min(this.slots.length - 1, playing ? limit : 16);
  }

  private wantAt(index: number, quality: Quality): Want {
    const slot = this.slots[index] as Slot;
    return { ...slot, quality };
  }

  private redraw(): void {
    this.dirty = true;
    if (!this.raf && !this.disposed) this.raf = requestAnimationFrame((now) => this.tick(now));
  }

  private tick(now: number): void {
    this.raf = 0;
    if (this.disposed) return;
    if (this.clock) this.advance(now);
    if (this.dirty) {
      this.dirty = false;
      this.paint(now);
    }
    if (this.clock && !this.raf) this.raf = requestAnimationFrame((next) => this.tick(next));
  }

  /** Cine: show the due frame when it is here; when it is late, let the clip's time wait for it. */
  private advance(now: number): void {
    const { index } = this.state.peek();
    const due = this.clock?.due(now) ?? index;
    if (due === index) return;
    const slot = this.slots[due];
    if (slot && this.loader.best(slot.instance, slot.frame)) {
      this.update({ index: due });
      this.lateSince = now;
      this.dirty = true;
      this.loader.want(this.wants());
    } else {
      // The due frame may be several ahead after a busy moment: wait for the next one only.
      const next = (index + 1) % this.slots.length;
      this.clock?.hold(next, now);
      if (now - this.lateSince > LATE_MS) this.late(next);
    }
  }

  private late(index: number): void {
    const slot = this.slots[index] as Slot;
    const error = this.loader.failure({ ...slot, quality: firstQuality(slot.instance) });
    if (error !== undefined) {
      this.play(false);
      this.update({ status: { kind: 'error', error } });
    } else if (this.state.peek().status.kind !== 'buffering') this.update({ status: { kind: 'buffering' } });
  }

  private paint(now: number): void {
    const { index, window, invert, status } = this.state.peek();
    const slot = this.slots[index];
    if (!slot || this.canvas.width === 0) return this.draw(null);
    const picture = this.loader.best(slot.instance, slot.frame);
    if (!picture) return this.paintNothing(slot, now);
    if (picture.kind === 'grey' && !slot.instance.window) this.adoptWindow(picture.bytes, slot.instance);
    const affine = this.place(picture.width, picture.height, slot.instance.aspect);
    this.draw(order(picture, slot.instance, window, invert, affine));
    const kind = this.clock && now - this.lateSince > LATE_MS ? 'buffering' : 'ready';
    const quality = picture.quality;
    const same = status.kind === kind && (status.kind !== 'ready' || status.quality === quality);
    if (!same) this.update({ status: kind === 'ready' ? { kind, quality } : { kind: 'buffering' } });
    const { scale, instance, frame } = this.state.peek();
    if (scale !== this.view.scale || instance !== slot.instance || frame !== slot.frame) {
      this.update({ scale: this.view.scale, instance: slot.instance, frame: slot.frame });
    }
  }

  /** Objects that ask for no window share the one of the first frame that was read, so that a stack does not flicker. */
  private adoptWindow(bytes: Uint8Array, instance: Instance): void {
    const window = windowOf(bytes, instance);
    for (const slot of this.slots) slot.instance.window ??= window;
    this.update({ instance: { ...instance } });
  }

  /** Give the engine an order, unless the same picture stands there already: drawing is dear without a GPU. */
  private draw(what: DrawOrder | null): void {
    const { width, height } = this.canvas;
    const signature = what
      ? [what.picture.key, what.gain, what.bias, what.invert, ...what.affine, width, height].join()
      : '';
    if (signature === this.drawn) return;
    this.drawn = signature;
    this.engine.draw(what);
  }

  /** No picture of this position yet: never leave another one standing for long under its number. */
  private paintNothing(slot: Slot, now: number): void {
    const error = this.loader.failure({ ...slot, quality: firstQuality(slot.instance) });
    if (error !== undefined) {
      this.draw(null);
      if (this.state.peek().status.kind !== 'error') this.update({ status: { kind: 'error', error } });
      return;
    }
    if (now - this.lateSince > BLANK_AFTER_MS) this.draw(null);
    else this.blankTimer ??= setTimeout(() => this.blank(), BLANK_AFTER_MS);
    if (this.state.peek().status.kind !== 'loading') this.update({ status: { kind: 'loading' } });
  }

  private blank(): void {
    this.blankTimer = undefined;
    this.redraw();
  }

  /** Bring the view up to date with the box and the picture; returns picture pixels -> device pixels. */
  private place(width: number, height: number, aspect: number): Affine {
    const ratio = this.canvas.width / Math.max(1, this.box.width);
    const picture = { width, height, aspect };
    if (this.fitMode) {
      const scale = this.fitMode === 'fit' ? fitScale(picture, this.box, this.view.turns) : 1 / ratio;
      this.view = { ...this.view, scale, panX: 0, panY: 0 };
    }
    return toBox(this.view, picture, this.box).map((value) => value * ratio) as Affine;
  }
}
