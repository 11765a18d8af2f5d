/** The room's link against a fake socket: the rules of docs/protocols/room-signalling.md. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { ServerMessage } from '@/lib/rtc/messages';
import { backoff, endOf, RoomLink, tokenExpiry, type LinkState } from '@/lib/rtc/signalling';
import { FakeSocket, jwt, WELCOME } from './fake-socket';

const NOW = Date.parse('2026-01-01T00:00:00Z');

function setUp(tokens: (string | null)[] = [jwt(NOW / 1000 + 900)]) {
  const sockets: FakeSocket[] = [];
  const states: LinkState[] = [];
  const messages: ServerMessage[] = [];
  const asked: boolean[] = [];
  const link = new RoomLink({
    url: 'ws://x/api/v1/rooms/demo/ws',
    client: { kind: 'desktop', codecs: ['H264', 'VP8', 'opus'] },
    token: (fresh) => {
      asked.push(fresh);
      return Promise.resolve(tokens[Math.min(asked.length - 1, tokens.length - 1)] ?? null);
    },
    onMessage: (message) => messages.push(message),
    onState: (state) => states.push(state),
    open: (url, protocol) => {
      const socket = new FakeSocket(url, protocol);
      sockets.push(socket);
      return socket;
    },
    random: () => 0,
  });
  const last = () => sockets[sockets.length - 1] as FakeSocket;
  return { link, sockets, states, messages, asked, last };
}

async function joined(tokens?: (string | null)[]) {
  const all = setUp(tokens);
  all.link.start();
  await vi.advanceTimersByTimeAsync(0);
  all.last().open();
  all.last().tell(WELCOME);
  return all;
}

beforeEach(() => {
  vi.useFakeTimers();
  vi.setSystemTime(NOW);
});
afterEach(() => vi.useRealTimers());

describe('joining', () => {
  it('says hello first, with the token in the frame and not in the address (RS-01)', async () => {
    const { last } = await joined();
    expect(last().protocol).toBe('consilium.room.v1');
    expect(last().url).not.toContain('x.');
    expect(last().sent[0]).toMatchObject({
      type: 'hello',
      client: { kind: 'desktop', codecs: ['H264', 'VP8', 'opus'] },
    });
    expect(last().sent[0]?.['token']).toBe(jwt(NOW / 1000 + 900));
  });

  it('is open only after the welcome', async () => {
    const { link, states, last } = setUp();
    link.start();
    await vi.advanceTimersByTimeAsync(0);
    last().open();
    expect(states.at(-1)?.kind).toBe('connecting');
    last().tell(WELCOME);
    expect(states.at(-1)?.kind).toBe('open');
  });

  it('does not connect when nobody is signed in', async () => {
    const { link, sockets, states } = setUp([null]);
    link.start();
    await vi.advanceTimersByTimeAsync(0);
    expect(sockets).toHaveLength(0);
    expect(states.at(-1)).toMatchObject({ kind: 'over', reason: 'signed-out' });
  });
});

describe('losing the connection', () => {
  it('comes back with growing pauses and says hello again', async () => {
    const { sockets, last } = await joined();
    last().drop(1006);
    await vi.advanceTimersByTimeAsync(199);
    expect(sockets).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(sockets).toHaveLength(2);
    last().drop(1006);
    await vi.advanceTimersByTimeAsync(499);
    expect(sockets).toHaveLength(2);
    await vi.advanceTimersByTimeAsync(1);
    last().open();
    expect(last().types()[0]).toBe('hello');
  });

  it('starts from the shortest pause again after a welcome', async () => {
    const { sockets, last } = await joined();
    for (const wait of [200, 500]) {
      last().drop(1006);
      await vi.advanceTimersByTimeAsync(wait);
    }
    last().open();
    last().tell(WELCOME);
    last().drop(4413);
    await vi.advanceTimersByTimeAsync(200);
    expect(sockets).toHaveLength(4);
  });

  it.each([
    [4403, 'denied'],
    [4404, 'missing'],
    [4410, 'ended'],
    [4429, 'full'],
    [4400, 'refused'],
  ] as const)('does not try again after close code %i', async (code, reason) => {
    const { sockets, states, last } = await joined();
    last().drop(code);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(sockets).toHaveLength(1);
    expect(states.at(-1)).toEqual({ kind: 'over', reason, code });
  });

  it('takes a fresh token once after 4401, and is signed out when that is refused too (RS-02)', async () => {
    const { link, sockets, asked, states, last } = setUp();
    link.start();
    await vi.advanceTimersByTimeAsync(0);
    last().open();
    last().drop(4401);
    await vi.advanceTimersByTimeAsync(0);
    expect(asked).toEqual([false, true]);
    last().open();
    last().drop(4401);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(sockets).toHaveLength(2);
    expect(states.at(-1)).toMatchObject({ kind: 'over', reason: 'signed-out' });
  });

  it('notices a dead network by its silence', async () => {
    const { sockets, states } = await joined();
    await vi.advanceTimersByTimeAsync(17_000);
    expect(states.some((state) => state.kind === 'waiting')).toBe(true);
    expect(sockets.length).toBeGreaterThan(1);
  });

  it('rejects requests that were under way', async () => {
    const { link, last } = await joined();
    const answer = link.subscribe('v=0', {});
    const failed = expect(answer).rejects.toMatchObject({ code: 'offline' });
    last().drop(1006);
    await failed;
  });
});

describe('a stay', () => {
  it('sends a fresh token before the old one ends (RS-05)', async () => {
    const second = jwt(NOW / 1000 + 1800);
    const { last, asked } = await joined([jwt(NOW / 1000 + 900), second]);
    for (let s = 0; s < 856; s += 4) {
      await vi.advanceTimersByTimeAsync(4_000);
      last().tell({ type: 'pong', t: Date.now(), server_time_us: Date.now() * 1000 });
    }
    expect(asked).toEqual([false, true]);
    expect(last().sent).toContainEqual({ type: 'token', token: second });
  });

  it('matches answers to requests by id, in any order (RS-12, RS-13)', async () => {
    const { link, last } = await joined();
    const subscribed = link.subscribe('offer-a', { '0': 't1' });
    const published = link.publish('offer-b', { '0': 'microphone' });
    const [a, b] = last().sent.slice(-2);
    last().tell({ type: 'published', id: b?.['id'], sdp: 'B', track_ids: {} });
    last().tell({ type: 'subscribed', id: a?.['id'], sdp: 'A', unanswerable: [] });
    expect((await subscribed).sdp).toBe('A');
    expect((await published).sdp).toBe('B');
  });

  it('rejects a request that the server refuses (RS-32)', async () => {
    const { link, last } = await joined();
    const answer = link.publish('offer', {});
    const failed = expect(answer).rejects.toMatchObject({ code: 'denied', message: 'no' });
    last().tell({ type: 'error', id: last().sent.at(-1)?.['id'], code: 'denied', detail: 'no' });
    await failed;
  });

  it('takes the clock offset from the quickest round trip (RS-30)', async () => {
    const { link, last } = await joined();
    const sent = Date.now();
    vi.setSystemTime(sent + 10);
    last().tell({ type: 'pong', t: sent, server_time_us: (sent + 5 + 700) * 1000 });
    expect(link.offset_ms).toBeCloseTo(700);
    vi.setSystemTime(sent + 410);
    last().tell({ type: 'pong', t: sent + 10, server_time_us: (sent + 10 + 900) * 1000 });
    expect(link.offset_ms).toBeCloseTo(700);
    expect(link.rtt_ms).toBe(400);
  });

  it('says leave and closes (RS-04)', async () => {
    const { link, last, states } = await joined();
    link.close();
    link.close();
    expect(
      last()
        .types()
        .filter((type) => type === 'leave'),
    ).toHaveLength(1);
    expect(last().closedWith).toBe(1000);
    expect(states.at(-1)).toMatchObject({ kind: 'over', reason: 'left' });
  });

  it('ignores a frame that is not JSON', async () => {
    const { last, messages } = await joined();
    last().onmessage?.(new MessageEvent('message', { data: '{' }));
    expect(messages).toHaveLength(1);
  });
});

it('reads a token’s end, and null from anything else', () => {
  expect(tokenExpiry(jwt(1234))).toBe(1234);
  expect(tokenExpiry('opaque')).toBeNull();
});

it('keeps the longest pause under five seconds', () => {
  expect(backoff(1, 0)).toBe(200);
  expect(backoff(50, 0)).toBeLessThanOrEqual(5_000);
  expect(backoff(3, 1)).toBe(750);
});

it('tries again after codes that may pass', () => {
  for (const code of [1000, 1001, 1006, 1011, 4408, 4413]) expect(endOf(code)).toBeNull();
});
