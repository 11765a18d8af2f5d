/** How the picture stands: the one place that decides between "live" and the words over it. Pure. */
import type { ReadonlySignal } from '@preact/signals';
import type { LiveRoom, Track } from '@/lib/rtc/messages';
import type { LinkState } from '@/lib/rtc/signalling';

export type Standing =
  | { kind: 'live' }
  | { kind: 'connecting' }
  | { kind: 'no-stream' }
  | { kind: 'waiting' }
  | { kind: 'no-codec' }
  | { kind: 'paused'; seconds: number | null }
  | { kind: 'held'; seconds: number }
  | { kind: 'frozen'; seconds: number; cause: 'link' | 'site' | 'media' };

/** What is looked at; a RoomSession has it. */
export interface Seen {
  link: ReadonlySignal<LinkState>;
  primary: ReadonlySignal<Track | null>;
  room: ReadonlySignal<LiveRoom | null>;
  unanswerable: ReadonlySignal<ReadonlySet<string>>;
}

/** The word that says why nothing can be captured now. */
export type CaptureBlock = 'capture_off' | 'capture_waiting' | 'capture_paused' | 'capture_frozen';

const FROZEN_MS = 1_000;

/**
 * Decide from the link, the room, the track and the age of the last presented frame (null: none was ever presented).
 * The words tell the age; `overdue_ms` (shorter after the page was hidden) says whether a frame should have come.
 */
export function stand(session: Seen, age_ms: number | null, held: boolean, overdue_ms = age_ms): Standing {
  const track = session.primary.peek();
  const room = session.room.peek();
  if (age_ms === null) return before(session, track, room);
  const seconds = Math.floor(age_ms / 1000);
  if (held) return { kind: 'held', seconds };
  if (room?.state === 'paused') return { kind: 'paused', seconds };
  if ((overdue_ms ?? age_ms) > FROZEN_MS) {
    const here = session.link.peek().kind !== 'open' ? 'link' : track?.state === 'live' ? 'media' : 'site';
    return { kind: 'frozen', seconds: Math.max(1, seconds), cause: here };
  }
  // No packet has come for a second, although the last pictures are only now being shown.
  if (track?.state === 'stalled') return { kind: 'frozen', seconds, cause: 'site' };
  return { kind: 'live' };
}

/** Nothing was shown yet: say what is waited for. */
function before(session: Seen, track: Track | null, room: LiveRoom | null): Standing {
  if (session.link.peek().kind !== 'open') return { kind: 'connecting' };
  if (room?.state === 'paused') return { kind: 'paused', seconds: null };
  if (track) return { kind: session.unanswerable.peek().has(track.id) ? 'no-codec' : 'waiting' };
  return { kind: room?.state === 'live' ? 'waiting' : 'no-stream' };
}

/** Why no still or clip can be taken now; null while the picture is live (a picture held here is, while the site's goes on). */
export function captureBlock(kind: Standing['kind'], track: Track | null): CaptureBlock | null {
  switch (kind) {
    case 'live':
      return null;
    case 'held':
      return track?.state === 'live' ? null : 'capture_frozen';
    case 'frozen':
      return 'capture_frozen';
    case 'paused':
      return 'capture_paused';
    case 'no-stream':
      return 'capture_off';
    case 'connecting':
    case 'waiting':
    case 'no-codec':
      return 'capture_waiting';
  }
}
