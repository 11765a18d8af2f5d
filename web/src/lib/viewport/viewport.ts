/**
 * The contract of a picture area, whatever draws it: the lite tier here, server-rendered planes, or a heavier engine.
 * Screens talk to this interface only.
 */
import type { ReadonlySignal } from '@preact/signals';
import type { Instance } from './dicom';
import type { Window } from './window';

export type ViewportStatus =
  | { kind: 'empty' }
  | { kind: 'loading' }
  /** `quality`: preview = server-rendered JPEG; full = the stored pixels. */
  | { kind: 'ready'; quality: 'preview' | 'full' }
  | { kind: 'buffering' }
  | { kind: 'error'; error: unknown };

export interface ViewportState {
  status: ViewportStatus;
  /** Position in the stack, from 0, and its length. */
  index: number;
  count: number;
  playing: boolean;
  window: Window | null;
  invert: boolean;
  /** How the picture stands against the stored one. */
  mirrored: boolean;
  degrees: number;
  /** CSS pixels per image pixel. */
  scale: number;
  engine: 'webgl2' | 'canvas2d';
  /** Which stored picture is on the screen. */
  instance: Instance | null;
  frame: number;
}

export interface Viewport {
  readonly state: ReadonlySignal<ViewportState>;
  /** Show a series: its instances in order. A multi-frame clip starts to play by itself. */
  open(instances: readonly Instance[], start?: { sopInstanceUid: string; frame?: number }): void;
  /** Go to a position of the stack; held inside it. */
  seek(index: number): void;
  step(by: number): void;
  play(on?: boolean): void;
  setWindow(window: Window | null): void;
  setInvert(on: boolean): void;
  zoomBy(factor: number, at?: { x: number; y: number }): void;
  panBy(dx: number, dy: number): void;
  /** Whole picture, or one image pixel to one device pixel. */
  fit(mode: 'fit' | 'one'): void;
  rotate(quarterTurns: number): void;
  flip(axis: 'h' | 'v'): void;
  reset(): void;
  retry(): void;
  resize(): void;
  dispose(): void;
}
