/** Which of a room's tracks this client takes, and on which transceiver (RS-10, RS-12, RS-15). Pure. */
import type { Codec, Track } from './messages';

export interface Choice {
  selfId: string;
  decodable: ReadonlySet<Codec>;
  /** Tracks that the server said our offer cannot take. */
  unanswerable: ReadonlySet<string>;
  /** How many cameras to show; they drop first. */
  cameras: number;
}

/**
 * The tracks to subscribe, modality first. Of a group (encodes of one picture) the first that can be decoded is
 * taken; when none can, the first is asked for all the same, so that the server starts an encode that can (RS-15).
 */
export function chooseTracks(tracks: readonly Track[], choice: Choice): Track[] {
  const wanted: Track[] = [];
  const groups = new Map<string, Track>();
  let cameras = 0;
  for (const track of tracks) {
    if (track.state === 'ended' || track.participant_id === choice.selfId) continue;
    if (track.source === 'camera' && cameras++ >= choice.cameras) continue;
    if (!track.group) {
      if (!choice.unanswerable.has(track.id)) wanted.push(track);
      continue;
    }
    const taken = groups.get(track.group);
    if (!taken || (!canTake(taken, choice) && canTake(track, choice))) groups.set(track.group, track);
  }
  const grouped = [...groups.values()].filter((track) => !choice.unanswerable.has(track.id));
  const order = { modality: 0, microphone: 1, camera: 2 } as const;
  return [...grouped, ...wanted].sort((a, b) => order[a.source] - order[b.source]);
}

function canTake(track: Track, choice: Choice): boolean {
  return choice.decodable.has(track.codec) && !choice.unanswerable.has(track.id);
}

export interface Slot {
  kind: 'video' | 'audio';
  /** The track it carries; null for a slot that is used up. */
  trackId: string | null;
}

/**
 * Fit the wanted tracks into slots: keep who sits, empty the slots of those who are no longer wanted, add the rest.
 * An emptied slot is not used again: Chromium decodes a track that comes back on an m-line that was inactive, but
 * never shows a frame of it.
 */
export function fillSlots(slots: readonly Slot[], wanted: readonly Pick<Track, 'id' | 'kind'>[]): Slot[] {
  const ids = new Set(wanted.map((track) => track.id));
  const filled: Slot[] = slots.map((slot) => ({
    kind: slot.kind,
    trackId: slot.trackId !== null && ids.has(slot.trackId) ? slot.trackId : null,
  }));
  for (const track of wanted) {
    if (filled.some((slot) => slot.trackId === track.id)) continue;
    filled.push({ kind: track.kind, trackId: track.id });
  }
  return filled;
}
