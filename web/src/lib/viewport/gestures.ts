/**
 * Pointer and wheel gestures on a viewport. Mouse: left drag does the chosen tool, right drag zooms, middle drag pans,
 * wheel scrolls. Touch: one finger scrolls (or pans when zoomed in sideways), two fingers pinch or window, double tap
 * toggles 1:1.
 */
import { naturalWindow } from './dicom';
import type { Viewport } from './viewport';
import { dragWindow, type Window } from './window';

export type DragTool = 'scroll' | 'window' | 'pan' | 'zoom';

interface Touch {
  x: number;
  y: number;
}

const DOUBLE_TAP_MS = 320;
const DECIDE_PX = 9;

/** What two fingers mean: apart or together is a pinch, side by side is the window. */
export function twoFingerIntent(from: readonly [Touch, Touch], to: readonly [Touch, Touch]): 'pinch' | 'window' | null {
  const spread = Math.abs(distance(to[0], to[1]) - distance(from[0], from[1]));
  const travel = Math.hypot(
    (to[0].x + to[1].x - from[0].x - from[1].x) / 2,
    (to[0].y + to[1].y - from[0].y - from[1].y) / 2,
  );
  if (Math.max(spread, travel) < DECIDE_PX) return null;
  return spread > travel ? 'pinch' : 'window';
}

function distance(a: Touch, b: Touch): number {
  return Math.hypot(a.x - b.x, a.y - b.y);
}

/** Bind the gestures to an element; returns the way to unbind. `tool` is read at each drag. */
export function bindGestures(element: HTMLElement, viewport: Viewport, tool: () => DragTool): () => void {
  const touches = new Map<number, Touch>();
  let origin: [Touch, Touch] | null = null;
  let intent: 'pinch' | 'window' | null = null;
  let startWindow: Window = { center: 0, width: 1 };
  let startRange = 255;
  let rest = 0;
  let lastTap = 0;
  let moved = 0;
  let button = 0;

  const at = (event: { clientX: number; clientY: number }): Touch => {
    const rect = element.getBoundingClientRect();
    return { x: event.clientX - rect.left, y: event.clientY - rect.top };
  };
  const beginWindow = (): void => {
    const { instance, window } = viewport.state.peek();
    const natural = instance ? naturalWindow(instance) : { center: 128, width: 256 };
    startWindow = window ?? natural;
    startRange = Math.max(natural.width, 32) * 1.2;
  };
  const windowBy = (dx: number, dy: number): void =>
    viewport.setWindow(
      dragWindow(startWindow, dx, dy, Math.min(element.clientWidth, element.clientHeight), startRange),
    );
  const scrollBy = (dy: number): void => {
    const { count } = viewport.state.peek();
    const perFrame = Math.max(4, Math.min(28, (element.clientHeight * 0.8) / Math.max(1, count)));
    rest += dy / perFrame;
    const frames = Math.trunc(rest);
    if (frames !== 0) viewport.step(frames);
    rest -= frames;
  };

  let from: Touch = { x: 0, y: 0 };
  const down = (event: PointerEvent): void => {
    if (event.target instanceof Element && event.target.closest('button')) return; // "try again" is not a drag
    element.setPointerCapture(event.pointerId);
    const point = at(event);
    touches.set(event.pointerId, point);
    from = point;
    moved = 0;
    rest = 0;
    button = event.button;
    beginWindow();
    if (touches.size === 2) {
      origin = [...touches.values()].slice(0, 2) as [Touch, Touch];
      intent = null;
    }
    if (event.pointerType === 'mouse') event.preventDefault();
  };
  const moveTwo = (before: [Touch, Touch], now: [Touch, Touch]): void => {
    if (!origin) return;
    intent ??= twoFingerIntent(origin, now);
    if (intent === 'pinch') {
      const middle = { x: (now[0].x + now[1].x) / 2, y: (now[0].y + now[1].y) / 2 };
      const old = { x: (before[0].x + before[1].x) / 2, y: (before[0].y + before[1].y) / 2 };
      viewport.zoomBy(distance(now[0], now[1]) / Math.max(1, distance(before[0], before[1])), middle);
      viewport.panBy(middle.x - old.x, middle.y - old.y);
    } else if (intent === 'window') {
      const dx = (now[0].x + now[1].x - origin[0].x - origin[1].x) / 2;
      const dy = (now[0].y + now[1].y - origin[0].y - origin[1].y) / 2;
      windowBy(dx, dy);
    }
  };
  const drag = (event: PointerEvent, dx: number, dy: number, point: Touch): void => {
    if (event.pointerType !== 'mouse') {
      scrollBy(dy);
      return;
    }
    const doing: DragTool = button === 2 ? 'zoom' : button === 1 ? 'pan' : tool();
    switch (doing) {
      case 'scroll':
        return scrollBy(dy);
      case 'pan':
        return viewport.panBy(dx, dy);
      case 'zoom':
        return viewport.zoomBy(Math.exp(-dy / 160), from);
      case 'window':
        return windowBy(point.x - from.x, point.y - from.y);
    }
  };
  const move = (event: PointerEvent): void => {
    const old = touches.get(event.pointerId);
    if (!old) return;
    const before = [...touches.values()].slice(0, 2) as [Touch, Touch];
    const point = at(event);
    touches.set(event.pointerId, point);
    moved += distance(old, point);
    if (touches.size >= 2) return moveTwo(before, [...touches.values()].slice(0, 2) as [Touch, Touch]);
    if (origin) return; // the second finger has just left: let the gesture end quietly
    drag(event, point.x - old.x, point.y - old.y, point);
  };
  const up = (event: PointerEvent): void => {
    touches.delete(event.pointerId);
    if (touches.size > 0) return;
    const wasTap = !origin && moved < 8 && event.type === 'pointerup';
    origin = null;
    intent = null;
    if (!wasTap) return;
    if (event.timeStamp - lastTap < DOUBLE_TAP_MS) {
      toggleOne(viewport);
      lastTap = 0;
    } else lastTap = event.timeStamp;
  };
  const wheel = (event: WheelEvent): void => {
    event.preventDefault();
    if (event.ctrlKey) viewport.zoomBy(Math.exp(-event.deltaY / 200), at(event));
    else viewport.step(event.deltaY > 0 ? 1 : -1);
  };
  const menu = (event: Event): void => event.preventDefault();

  element.addEventListener('pointerdown', down);
  element.addEventListener('pointermove', move);
  element.addEventListener('pointerup', up);
  element.addEventListener('pointercancel', up);
  element.addEventListener('wheel', wheel, { passive: false });
  element.addEventListener('contextmenu', menu);
  return () => {
    element.removeEventListener('pointerdown', down);
    element.removeEventListener('pointermove', move);
    element.removeEventListener('pointerup', up);
    element.removeEventListener('pointercancel', up);
    element.removeEventListener('wheel', wheel);
    element.removeEventListener('contextmenu', menu);
  };
}

/** Between the whole picture and one picture pixel per device pixel. */
export function toggleOne(viewport: Viewport): void {
  const one = 1 / (globalThis.devicePixelRatio || 1);
  viewport.fit(Math.abs(viewport.state.peek().scale - one) < 1e-3 ? 'fit' : 'one');
}
