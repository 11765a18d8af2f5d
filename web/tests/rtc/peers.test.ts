/** Subscriber and publisher against a fake peer connection. */
import { describe, expect, it, vi } from 'vitest';
import type { Subscribed, Track } from '@/lib/rtc/messages';
import { Publisher } from '@/lib/rtc/publisher';
import { Subscriber, type PeerLike } from '@/lib/rtc/subscriber';
import { chooseTracks, fillSlots, type Choice } from '@/lib/rtc/tracks';

class FakePeer {
  transceivers: { mid: string | null; direction: string; kind: string; receiver: object; sender: object }[] = [];
  onicecandidate: ((event: { candidate: null }) => void) | null = null;
  onconnectionstatechange: (() => void) | null = null;
  connectionState = 'new';
  localDescription: { sdp: string } | null = null;
  remote: string[] = [];
  closed = false;

  addTransceiver(kind: string | MediaStreamTrack, init: { direction: string }) {
    const name = typeof kind === 'string' ? kind : kind.kind;
    const sender = {
      replaceTrack: () => Promise.resolve(),
      getParameters: () => ({ encodings: [{}] }),
      setParameters: () => Promise.resolve(),
    };
    const made = {
      mid: null,
      direction: init.direction,
      kind: name,
      receiver: { of: this.transceivers.length },
      sender,
    };
    this.transceivers.push(made);
    return made;
  }
  createOffer() {
    return Promise.resolve({ sdp: 'offer' });
  }
  setLocalDescription() {
    this.transceivers.forEach((transceiver, i) => (transceiver.mid = String(i)));
    this.localDescription = { sdp: `offer with ${this.transceivers.length}` };
    return Promise.resolve();
  }
  setRemoteDescription({ sdp }: { sdp: string }) {
    this.remote.push(sdp);
    return Promise.resolve();
  }
  close() {
    this.closed = true;
  }
}

function track(id: string, more: Partial<Track> = {}): Track {
  return { id, kind: 'video', source: 'modality', codec: 'H264', label: id, state: 'live', ...more };
}

const ANY: Choice = { selfId: 'me', decodable: new Set(['H264', 'VP8', 'opus']), unanswerable: new Set(), cameras: 2 };

describe('choosing tracks', () => {
  it('takes the first encode of a group that can be decoded (RS-10)', () => {
    const tracks = [track('h', { group: 'g' }), track('v', { group: 'g', codec: 'VP8' })];
    expect(chooseTracks(tracks, ANY).map((one) => one.id)).toEqual(['h']);
    expect(chooseTracks(tracks, { ...ANY, decodable: new Set(['VP8', 'opus']) }).map((one) => one.id)).toEqual(['v']);
  });

  it('asks for the undecodable one when it is alone, so that the server starts another (RS-15)', () => {
    const only = [track('h', { group: 'g' })];
    const choice = { ...ANY, decodable: new Set(['VP8'] as const) };
    expect(chooseTracks(only, choice).map((one) => one.id)).toEqual(['h']);
    expect(chooseTracks(only, { ...choice, unanswerable: new Set(['h']) })).toEqual([]);
    const both = [...only, track('v', { group: 'g', codec: 'VP8' })];
    expect(chooseTracks(both, { ...choice, unanswerable: new Set(['h']) }).map((one) => one.id)).toEqual(['v']);
  });

  it('leaves out what is one’s own or ended, puts the examination first, and drops cameras above the limit', () => {
    const camera = (id: string, who: string) => track(id, { source: 'camera', codec: 'VP8', participant_id: who });
    const tracks = [
      camera('c1', 'a'),
      camera('c2', 'b'),
      camera('c3', 'c'),
      camera('mine', 'me'),
      track('gone', { state: 'ended' }),
      track('mic', { kind: 'audio', source: 'microphone', codec: 'opus', participant_id: 'a' }),
      track('us'),
    ];
    expect(chooseTracks(tracks, ANY).map((one) => one.id)).toEqual(['us', 'mic', 'c1', 'c2']);
  });
});

it('keeps seats, empties those no longer wanted for good, and adds the rest', () => {
  const slots = [
    { kind: 'video' as const, trackId: 'a' },
    { kind: 'audio' as const, trackId: 'b' },
  ];
  const wanted = [track('c'), track('b', { kind: 'audio' }), track('d', { kind: 'audio' })];
  expect(fillSlots(slots, wanted)).toEqual([
    { kind: 'video', trackId: null },
    { kind: 'audio', trackId: 'b' },
    { kind: 'video', trackId: 'c' },
    { kind: 'audio', trackId: 'd' },
  ]);
});

describe('subscriber', () => {
  function setUp(unanswerable: Subscribed['unanswerable'] = []) {
    const peer = new FakePeer();
    const rounds: Record<string, string>[] = [];
    const receivers: ReadonlyMap<string, RTCRtpReceiver>[] = [];
    const refused: string[][] = [];
    const subscriber = new Subscriber({
      iceServers: [],
      subscribe: (_sdp, tracks) => {
        rounds.push(tracks);
        return Promise.resolve({ type: 'subscribed', id: 'r', sdp: `answer ${rounds.length}`, unanswerable });
      },
      sendCandidate: () => undefined,
      onReceivers: (map) => receivers.push(map),
      onUnanswerable: (ids) => refused.push(ids),
      onState: () => undefined,
      onError: (error) => {
        throw error;
      },
      makePeer: () => peer as unknown as PeerLike,
    });
    return { peer, rounds, receivers, refused, subscriber };
  }

  it('offers one recvonly transceiver per track and names each by its mid (RS-12)', async () => {
    const { peer, rounds, receivers, subscriber } = setUp();
    subscriber.want([track('a'), track('m', { kind: 'audio' })]);
    await vi.waitFor(() => expect(receivers).toHaveLength(1));
    expect(rounds).toEqual([{ '0': 'a', '1': 'm' }]);
    expect(peer.transceivers.map((one) => one.direction)).toEqual(['recvonly', 'recvonly']);
    expect([...(receivers[0]?.keys() ?? [])]).toEqual(['a', 'm']);
  });

  it('offers again on the same connection when the set changes, and not when it does not', async () => {
    const { peer, rounds, receivers, subscriber } = setUp();
    subscriber.want([track('a')]);
    await vi.waitFor(() => expect(receivers).toHaveLength(1));
    subscriber.want([track('a')]);
    subscriber.want([track('b'), track('c')]);
    await vi.waitFor(() => expect(receivers).toHaveLength(2));
    expect(rounds).toEqual([{ '0': 'a' }, { '1': 'b', '2': 'c' }]);
    expect(subscriber.usedUp).toBe(1);
    expect(peer.remote).toEqual(['answer 1', 'answer 2']);
  });

  it('leaves the mid of a track that is not wanted out, inactive', async () => {
    const { peer, rounds, receivers, subscriber } = setUp();
    subscriber.want([track('a'), track('b')]);
    await vi.waitFor(() => expect(receivers).toHaveLength(1));
    subscriber.want([track('b')]);
    await vi.waitFor(() => expect(receivers).toHaveLength(2));
    expect(rounds.at(-1)).toEqual({ '1': 'b' });
    expect(peer.transceivers[0]?.direction).toBe('inactive');
  });

  it('runs one round at a time and ends with the last wish', async () => {
    const { rounds, receivers, subscriber } = setUp();
    subscriber.want([track('a')]);
    subscriber.want([track('b')]);
    subscriber.want([track('c')]);
    await vi.waitFor(() => expect([...(receivers.at(-1)?.keys() ?? [])]).toEqual(['c']));
    expect(rounds.length).toBeLessThanOrEqual(2);
  });

  it('goes on when a track cannot be answered, and tells which (RS-15)', async () => {
    const { receivers, refused, subscriber } = setUp([{ track_id: 'a', codec: 'H264' }]);
    subscriber.want([track('a'), track('m', { kind: 'audio' })]);
    await vi.waitFor(() => expect(refused).toEqual([['a']]));
    expect([...(receivers[0]?.keys() ?? [])]).toEqual(['m']);
  });
});

describe('publisher', () => {
  it('captures nothing before it is asked, then publishes each source by its mid (RS-13)', async () => {
    const peer = new FakePeer();
    const rounds: Record<string, string>[] = [];
    const stopped: string[] = [];
    const asked: MediaStreamConstraints[] = [];
    const publisher = new Publisher({
      iceServers: [],
      publish: (_sdp, sources) => {
        rounds.push({ ...sources });
        return Promise.resolve({ type: 'published', id: 'r', sdp: 'answer', track_ids: {} });
      },
      sendCandidate: () => undefined,
      onState: () => undefined,
      makePeer: () => peer as unknown as PeerLike,
      capture: (constraints) => {
        asked.push(constraints);
        const kind = constraints.audio ? 'audio' : 'video';
        const media = { kind, readyState: 'live', stop: () => stopped.push(kind) };
        return Promise.resolve({ getTracks: () => [media] } as unknown as MediaStream);
      },
    });
    expect(asked).toHaveLength(0);
    await Promise.all([publisher.add('microphone'), publisher.add('camera')]);
    expect(rounds).toEqual([{ '0': 'microphone' }, { '0': 'microphone', '1': 'camera' }]);
    publisher.close();
    expect(stopped).toEqual(['audio', 'video']);
    expect(peer.closed).toBe(true);
  });

  it('releases the device when the server refuses', async () => {
    const stop = vi.fn();
    const media = { kind: 'audio', readyState: 'live', stop };
    const publisher = new Publisher({
      iceServers: [],
      publish: () => Promise.reject(new Error('denied')),
      sendCandidate: () => undefined,
      onState: () => undefined,
      makePeer: () => new FakePeer() as unknown as PeerLike,
      capture: () => Promise.resolve({ getTracks: () => [media] } as unknown as MediaStream),
    });
    await expect(publisher.add('microphone')).rejects.toThrow('denied');
    expect(stop).toHaveBeenCalled();
    expect(publisher.track('microphone')).toBeNull();
  });
});
