/** Keeps the drawing canvas in step with the strokes, the lasers and the size of the picture. */
import { useEffect } from 'react';
import type { Placement, Size } from '@/lib/rtc/geometry';
import type { StrokeDraft } from '@/lib/rtc/messages';
import type { drawOverlay } from './overlay';
import type { RoomSession } from './session';

export function useOverlay(
  session: RoomSession,
  canvas: { current: HTMLCanvasElement | null },
  placement: Placement,
  source: Size,
  trackId: string,
  draft: { current: StrokeDraft | null },
  visible: boolean,
): void {
  const group = session.primary.value?.group;
  // Strokes name the encode they were drawn on; every encode of the picture shows them.
  const ids = session.tracks.value
    .filter((track) => track.id === trackId || (group && track.group === group))
    .map((track) => track.id)
    .join();
  useEffect(() => {
    const element = canvas.current;
    const context = element?.getContext('2d');
    if (!element || !context) return;
    const ratio = globalThis.devicePixelRatio || 1;
    element.width = Math.max(1, Math.round(placement.width * ratio));
    element.height = Math.max(1, Math.round(placement.height * ratio));
    const shown = new Set(ids.split(','));
    let raf = 0;
    let draw: typeof drawOverlay | null = null;
    const paint = () => {
      raf = 0;
      const now_ms = Date.now();
      const strokes = visible ? session.strokes.alive(shown, now_ms) : [];
      const me = session.self.peek();
      const open = draft.current;
      const own =
        open && !strokes.some((stroke) => stroke.id === open.id)
          ? { ...open, participant_id: me?.id ?? '', color: me?.color ?? '#fff', at: '', ends_ms: Infinity }
          : null;
      const lasers = visible ? [...session.lasers.values()].filter((laser) => shown.has(laser.track_id)) : [];
      const view = { source, tracks: session.tracks.peek(), scale: placement.scale * ratio, ratio };
      if (!draw) return; // its code is on the way; it asks again when it is here
      const moving = draw(context, { strokes, draft: own, lasers, ...view, now_ms });
      element.dataset['strokes'] = String(strokes.length);
      element.dataset['lasers'] = String(lasers.length);
      if (moving) ask();
    };
    const ask = () => {
      raf ||= requestAnimationFrame(paint);
    };
    session.onCanvas = ask;
    import('./overlay').then(
      (loaded) => {
        draw = loaded.drawOverlay;
        ask();
      },
      (error: unknown) => (session.refusal.value = { code: 'code', detail: String(error) }),
    );
    return () => {
      cancelAnimationFrame(raf);
      session.onCanvas = () => undefined;
    };
  }, [session, placement, source, ids, visible]);
}
