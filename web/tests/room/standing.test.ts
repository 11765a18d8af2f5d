/** Never a stale picture silently: which words stand over the picture. */
import { signal } from '@preact/signals';
import { describe, expect, it } from 'vitest';
import { captureBlock, stand, type Seen } from '@/features/room/standing';
import type { LiveRoom, Track, TrackState } from '@/lib/rtc/messages';
import type { LinkState } from '@/lib/rtc/signalling';

function seen(
  more: { link?: LinkState['kind']; track?: TrackState | null; room?: string; refused?: boolean } = {},
): Seen {
  const track = more.track === null ? null : ({ id: 't', state: more.track ?? 'live' } as Track);
  return {
    link: signal({ kind: more.link ?? 'open' } as LinkState),
    primary: signal(track),
    room: signal({ state: more.room ?? 'live' } as LiveRoom),
    unanswerable: signal(new Set(more.refused ? ['t'] : [])),
  };
}

describe('after the first picture', () => {
  it('is live while frames are presented', () => {
    expect(stand(seen(), 40, false)).toEqual({ kind: 'live' });
  });

  it.each([
    [{}, 'media'],
    [{ track: 'stalled' }, 'site'],
    [{ track: null }, 'site'],
    [{ link: 'waiting' }, 'link'],
  ] as const)('is frozen after one second without a frame: %o', (more, cause) => {
    expect(stand(seen(more), 4_200, false)).toEqual({ kind: 'frozen', seconds: 4, cause });
  });

  it('is frozen at once when the server says that the site has stalled', () => {
    expect(stand(seen({ track: 'stalled' }), 200, false)).toMatchObject({ kind: 'frozen', cause: 'site' });
  });

  it('stays live through a short loss of the link while pictures still come', () => {
    expect(stand(seen({ link: 'waiting' }), 100, false)).toEqual({ kind: 'live' });
  });

  it('gives a page that was hidden a second for its next frame, and then tells the true age', () => {
    expect(stand(seen(), 42_000, false, 300)).toEqual({ kind: 'live' });
    expect(stand(seen(), 43_000, false, 1_200)).toMatchObject({ kind: 'frozen', seconds: 43 });
    expect(stand(seen(), 43_000, true, 1_200)).toEqual({ kind: 'held', seconds: 43 });
  });

  it('tells a pause from a failure, and a picture held by the person from both', () => {
    expect(stand(seen({ room: 'paused' }), 2_500, false)).toEqual({ kind: 'paused', seconds: 2 });
    expect(stand(seen(), 3_100, true)).toEqual({ kind: 'held', seconds: 3 });
  });
});

describe('before the first picture', () => {
  it.each([
    [{ link: 'connecting' }, 'connecting'],
    [{ track: null, room: 'lobby' }, 'no-stream'],
    [{ track: null, room: 'live' }, 'waiting'],
    [{ track: 'waiting' }, 'waiting'],
    [{ refused: true }, 'no-codec'],
    [{ room: 'paused' }, 'paused'],
  ] as const)('%o is told as %s', (more, kind) => {
    expect(stand(seen(more), null, false).kind).toBe(kind);
  });
});

describe('capturing', () => {
  const track = (state: TrackState) => ({ id: 't', state }) as Track;

  it('is possible while the picture is live, and of a picture held here while the site goes on', () => {
    expect(captureBlock('live', track('live'))).toBeNull();
    expect(captureBlock('held', track('live'))).toBeNull();
    expect(captureBlock('held', track('stalled'))).toBe('capture_frozen');
  });

  it.each([
    ['frozen', 'capture_frozen'],
    ['paused', 'capture_paused'],
    ['waiting', 'capture_waiting'],
    ['connecting', 'capture_waiting'],
    ['no-codec', 'capture_waiting'],
    ['no-stream', 'capture_off'],
  ] as const)('is not while the picture is %s, and says why', (kind, word) => {
    expect(captureBlock(kind, track('live'))).toBe(word);
  });
});
