import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { api, fetchBlob, withQuery } from '@/lib/api';
import { auth, signIn, signOut, token } from '@/lib/auth';
import { ApiError, reference } from '@/lib/problem';

type Answer = { status?: number; body?: unknown; headers?: Record<string, string> } | Error;
interface Call {
  path: string;
  init: RequestInit;
}

let calls: Call[];

/** Let fetch give these answers in turn; a missing one is a failed test. */
function answers(...list: Answer[]): void {
  calls = [];
  vi.stubGlobal('fetch', (path: string, init: RequestInit) => {
    calls.push({ path, init });
    const answer = list.shift();
    if (!answer) throw new Error(`unexpected request: ${path}`);
    if (answer instanceof Error) return Promise.reject(answer);
    const { status = 200, body, headers } = answer;
    return Promise.resolve(
      new Response(body === undefined ? null : JSON.stringify(body), { status, headers: headers ?? {} }),
    );
  });
}

const header = (call: Call | undefined, name: string) => new Headers(call?.init.headers).get(name);
const session = (access_token: string) => ({
  access_token,
  expires_in_s: 900,
  user: { id: 'u1', username: 'lan', name: 'Lan', role: 'operator', tenant: 't' },
});

async function problemOf(work: Promise<unknown>) {
  const error: unknown = await work.then(
    () => null,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(ApiError);
  return (error as ApiError).problem;
}

beforeEach(() => vi.useFakeTimers());
afterEach(() => {
  auth.value = { kind: 'unknown' };
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe('session', () => {
  it('keeps the token in memory only and sends it as a bearer', async () => {
    answers({ body: session('one') }, { body: { items: [] } });
    await signIn('lan', 'secret');
    await api.get('/api/v1/rooms');
    expect(token()).toBe('one');
    expect(header(calls[1], 'authorization')).toBe('Bearer one');
    expect(JSON.stringify({ ...localStorage, ...sessionStorage })).not.toContain('one');
  });

  it('refreshes before the token expires', async () => {
    answers({ body: session('one') }, { body: session('two') });
    await signIn('lan', 'secret');
    await vi.advanceTimersByTimeAsync(850_000);
    expect(token()).toBe('two');
    expect(header(calls[1], 'x-requested-by')).toBe('consilium');
  });

  it('answers one 401 by a refresh and the request again', async () => {
    answers({ body: session('one') }, { status: 401, body: {} }, { body: session('two') }, { body: { id: 'demo' } });
    await signIn('lan', 'secret');
    await expect(api.get('/api/v1/rooms/demo')).resolves.toEqual({ id: 'demo' });
    expect(header(calls[3], 'authorization')).toBe('Bearer two');
  });

  it('shares one refresh among requests that fail together', async () => {
    answers(
      { body: session('one') },
      { status: 401, body: {} },
      { status: 401, body: {} },
      { body: session('two') },
      { body: 1 },
      { body: 2 },
    );
    await signIn('lan', 'secret');
    await Promise.all([api.get('/a'), api.get('/b')]);
    expect(calls.filter((call) => call.path.endsWith('/refresh'))).toHaveLength(1);
  });

  it('says that the session has expired when the cookie is refused', async () => {
    answers(
      { body: session('one') },
      { status: 401, body: { code: 'unauthenticated', detail: 'x' } },
      { status: 401, body: {} },
    );
    await signIn('lan', 'secret');
    expect((await problemOf(api.get('/a'))).kind).toBe('unauthenticated');
    expect(auth.value).toEqual({ kind: 'out', reason: 'expired' });
  });

  it.each([new TypeError('network'), { status: 503, body: { code: 'unavailable' } }])(
    'does not claim to be signed out when the server did not end the session: %o',
    async (answer) => {
      answers({ body: session('one') }, answer);
      await signIn('lan', 'secret');
      await problemOf(signOut());
      expect(token()).toBe('one');
    },
  );

  it('forgets the token at sign-out, also when the session had ended already', async () => {
    answers({ body: session('one') }, { status: 401, body: {} });
    await signIn('lan', 'secret');
    await signOut();
    expect(auth.value).toEqual({ kind: 'out', reason: 'signed-out' });
  });
});

describe('problems', () => {
  const document = (status: number, extra: object = {}) => ({
    status,
    body: {
      type: 'about:blank',
      title: 'T',
      status,
      detail: 'D.',
      code: 'some-code',
      instance: 'urn:consilium:problem:01JX',
      ...extra,
    },
  });

  it.each([
    [403, 'denied'],
    [404, 'missing'],
    [410, 'missing'],
    [409, 'conflict'],
    [412, 'conflict'],
    [422, 'invalid'],
    [429, 'busy'],
    [503, 'busy'],
    [500, 'server'],
  ])('sorts %i as %s', async (status, kind) => {
    answers(document(status));
    expect((await problemOf(api.get('/x'))).kind).toBe(kind);
  });

  it('keeps code, detail, facts and a reference to read out', async () => {
    answers(document(409, { current_version: 4, mend: 'caller' }));
    const problem = await problemOf(api.get('/x'));
    expect(problem).toMatchObject({
      problem: { code: 'some-code', detail: 'D.', mend: 'caller', facts: { current_version: 4 } },
    });
    expect(reference(problem)).toBe('01JX');
  });

  it('reads the wait of a busy server', async () => {
    answers({ ...document(429), headers: { 'retry-after': '7' } });
    expect(await problemOf(api.get('/x'))).toMatchObject({ kind: 'busy', retry_after_s: 7 });
  });

  it('makes a problem of an answer that is no problem document', async () => {
    answers({ status: 502, body: '<html>' });
    expect(await problemOf(fetchBlob('/x'))).toMatchObject({
      kind: 'server',
      problem: { code: 'http-502', detail: 'HTTP 502' },
    });
  });

  it('calls a request that never arrived offline', async () => {
    answers(new TypeError('Failed to fetch'));
    expect(await problemOf(api.get('/x'))).toEqual({ kind: 'offline' });
  });
});

describe('requests', () => {
  it('sends the version that was read with a save', async () => {
    answers({ body: { version: 4 }, headers: { etag: '"4"' } });
    await expect(api.putTagged('/r', { text: 'a' }, '"3"')).resolves.toEqual({ value: { version: 4 }, etag: '"4"' });
    expect(header(calls[0], 'if-match')).toBe('"3"');
  });

  it('builds addresses without what is empty', () => {
    expect(withQuery('/w', { q: '', modality: 'US', cursor: null, n: 2 })).toBe('/w?modality=US&n=2');
    expect(withQuery('/w?a=1', { q: '林' })).toBe('/w?a=1&q=%E6%9E%97');
  });
});
