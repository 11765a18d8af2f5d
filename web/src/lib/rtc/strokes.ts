/**
 * The strokes of a room as one client sees them: what the server relayed, and one's own not yet relayed points.
 * Unpinned strokes fade out before `expires_at` and are then dropped (RS-20).
 */
import type { Point, Stroke, StrokeDraft } from './messages';

export const FADE_MS = 1_500;
export const LIFE_MS = 8_000;

export interface ShownStroke extends Stroke {
  /** When it ends, in our clock's milliseconds; Infinity for pinned ones. */
  ends_ms: number;
}

export class StrokeBook {
  private strokes = new Map<string, ShownStroke>();
  private local = new Map<string, Point[]>();

  /** Take a relayed stroke. A known id extends it: the message holds only the new points. One's own points we have already. */
  apply(stroke: Stroke, offset_ms: number, now_ms: number): void {
    const known = this.strokes.get(stroke.id);
    const points = this.local.get(stroke.id) ?? [...(known?.points ?? []), ...stroke.points];
    this.strokes.set(stroke.id, { ...stroke, points, ends_ms: endsAt(stroke, offset_ms, now_ms) });
  }

  /** Show one's own stroke at once, before the server has relayed it. */
  draw(draft: StrokeDraft, participantId: string, color: string, now_ms: number): void {
    this.local.set(draft.id, draft.points);
    this.strokes.set(draft.id, {
      ...draft,
      participant_id: participantId,
      color,
      at: new Date(now_ms).toISOString(),
      ends_ms: draft.pinned ? Infinity : now_ms + LIFE_MS,
    });
  }

  remove(ids: readonly string[]): void {
    for (const id of ids) {
      this.strokes.delete(id);
      this.local.delete(id);
    }
  }

  clear(): void {
    this.strokes.clear();
    this.local.clear();
  }

  /** The strokes alive at `now_ms` on one track, oldest first; drops the ended ones. */
  alive(trackIds: ReadonlySet<string>, now_ms: number): ShownStroke[] {
    const shown: ShownStroke[] = [];
    for (const stroke of this.strokes.values()) {
      if (stroke.ends_ms <= now_ms) this.remove([stroke.id]);
      else if (trackIds.has(stroke.track_id)) shown.push(stroke);
    }
    return shown;
  }

  get size(): number {
    return this.strokes.size;
  }
}

/** Opacity of a stroke: 1, then down to 0 over the last part of its life. */
export function opacity(stroke: ShownStroke, now_ms: number): number {
  return Math.min(1, Math.max(0, (stroke.ends_ms - now_ms) / FADE_MS));
}

function endsAt(stroke: Stroke, offset_ms: number, now_ms: number): number {
  if (stroke.pinned) return Infinity;
  if (stroke.expires_at) return Date.parse(stroke.expires_at) - offset_ms;
  return now_ms + LIFE_MS;
}
