/** The frame loader against a fake server: order, batches, cancellation, failure, bounded stores. */
import { describe, expect, it, vi } from 'vitest';
import { readInstance, type DicomJson, type Instance } from '@/lib/viewport/dicom';
import { bestQuality, firstQuality, FrameLoader, type Body, type Want } from '@/lib/viewport/frames';

const bitmap = { width: 4, height: 2, close: () => undefined } as unknown as ImageBitmap;

function instance(tags: Record<string, unknown>): Instance {
  const json: DicomJson = Object.fromEntries(
    Object.entries({
      '00080018': '1.9',
      '0020000D': '1.1',
      '0020000E': '1.2',
      '00280010': 2,
      '00280011': 4,
      ...tags,
    }).map(([tag, value]) => [tag, { vr: 'XX', Value: [value] }]),
  );
  return readInstance(json);
}
const DEEP = instance({ '00280100': 16, '00280101': 12, '00083002': '1.2.840.10008.1.2.1' });
const CLIP = instance({
  '00280008': 40,
  '00280002': 3,
  '00280004': 'YBR_FULL_422',
  '00083002': '1.2.840.10008.1.2.4.50',
});

interface Call {
  path: string;
  accept: string;
  signal: AbortSignal;
  answer: (body: Body) => void;
  fail: (error: unknown) => void;
}

function setUp(parallel = 2) {
  const calls: Call[] = [];
  const onChange = vi.fn();
  const loader = new FrameLoader(
    {
      encoded_limit_bytes: 1_000_000,
      decoded_limit_bytes: 1_000_000,
      parallel,
      decode: () => Promise.resolve(bitmap),
      fetchBody: (path, accept, signal) =>
        new Promise((answer, fail) => {
          calls.push({ path, accept, signal, answer, fail });
          signal.addEventListener('abort', () => fail(new DOMException('stop', 'AbortError')));
        }),
    },
    onChange,
  );
  return { loader, calls, onChange };
}

const jpeg = (): Body => ({ bytes: new Uint8Array(10), contentType: 'image/jpeg' });
const want = (of: Instance, frame: number, quality: Want['quality']): Want => ({ instance: of, frame, quality });

function multipart(count: number): Body {
  const text = `${'--b\r\nContent-Type: image/jpeg\r\n\r\nJ\r\n'.repeat(count)}--b--`;
  return { bytes: new TextEncoder().encode(text), contentType: 'multipart/related; boundary=b' };
}

it('knows what to fetch first and what is the best', () => {
  expect([firstQuality(DEEP), bestQuality(DEEP)]).toEqual(['preview', 'full']);
  expect([firstQuality(CLIP), bestQuality(CLIP)]).toEqual(['full', 'full']);
  expect(
    bestQuality(instance({ '00280002': 3, '00280004': 'YBR_FULL_422', '00083002': '1.2.840.10008.1.2.4.90' })),
  ).toBe('preview');
  expect(bestQuality(instance({ '00283000': {} }))).toBe('preview');
});

it('asks the server’s rendering first, then the stored pixels, and shows the better one', async () => {
  const { loader, calls } = setUp();
  loader.want([want(DEEP, 1, 'preview'), want(DEEP, 1, 'full')]);
  expect(calls.map((call) => call.path)).toEqual([
    '/dicomweb/studies/1.1/series/1.2/instances/1.9/frames/1/rendered',
    '/dicomweb/studies/1.1/series/1.2/instances/1.9/frames/1',
  ]);
  expect(calls[1]?.accept).toContain('application/octet-stream');
  calls[0]?.answer(jpeg());
  await vi.waitFor(() => expect(loader.best(DEEP, 1)?.quality).toBe('preview'));
  calls[1]?.answer({ bytes: new Uint8Array(16), contentType: 'application/octet-stream' });
  await vi.waitFor(() => expect(loader.best(DEEP, 1)).toMatchObject({ kind: 'grey', quality: 'full' }));
});

it('fetches the urgent frame of a clip alone and the rest in batches', async () => {
  const { loader, calls } = setUp();
  loader.want(Array.from({ length: 20 }, (_, i) => want(CLIP, i + 1, 'full')));
  expect(calls.map((call) => call.path.split('/frames/')[1])).toEqual(['1', '2,3,4,5,6,7,8,9,10,11,12,13']);
  calls[1]?.answer(multipart(12));
  await vi.waitFor(() => expect(loader.best(CLIP, 13)).toBeUndefined());
  await vi.waitFor(() => expect(loader.best(CLIP, 2)).toBeDefined());
  expect(calls.at(-1)?.path.split('/frames/')[1]).toBe('14,15,16,17,18,19,20');
});

it('cancels what is no longer wanted', async () => {
  const { loader, calls } = setUp();
  loader.want([want(DEEP, 1, 'preview')]);
  loader.want([want(CLIP, 5, 'full')]);
  expect(calls[0]?.signal.aborted).toBe(true);
  await vi.waitFor(() => expect(calls.some((call) => call.path.endsWith('/frames/5'))).toBe(true));
  expect(loader.failure(want(DEEP, 1, 'preview'))).toBeUndefined();
});

describe('failure', () => {
  it('is kept per frame, and tried again only when asked', async () => {
    const { loader, calls } = setUp();
    loader.want([want(DEEP, 1, 'preview')]);
    calls[0]?.fail(new Error('503'));
    await vi.waitFor(() => expect(loader.failure(want(DEEP, 1, 'preview'))).toBeInstanceOf(Error));
    loader.want([want(DEEP, 1, 'preview')]);
    expect(calls).toHaveLength(1);
    loader.retry();
    expect(calls).toHaveLength(2);
  });

  it('of the stored pixels leaves the rendering standing', async () => {
    const { loader, calls } = setUp();
    loader.want([want(DEEP, 1, 'preview'), want(DEEP, 1, 'full')]);
    calls[0]?.answer(jpeg());
    calls[1]?.fail(new Error('406'));
    await vi.waitFor(() => expect(loader.hasFull(DEEP)).toBe(false));
    await vi.waitFor(() => expect(loader.best(DEEP, 1)?.quality).toBe('preview'));
    expect(calls).toHaveLength(2); // and is not asked for again and again
  });

  it('of a frame that is too short is told, not drawn', async () => {
    const { loader, calls } = setUp();
    const short = instance({ '00280002': 1, '00280100': 8, '00083002': '1.2.840.10008.1.2.1' });
    loader.want([want(short, 1, 'full')]);
    calls[0]?.answer({ bytes: new Uint8Array(3), contentType: 'application/octet-stream' });
    await vi.waitFor(() => expect(loader.hasFull(short)).toBe(false));
    expect(loader.best(short, 1)).toBeUndefined();
  });
});

it('aborts everything when it is disposed', () => {
  const { loader, calls } = setUp();
  loader.want([want(DEEP, 1, 'preview')]);
  loader.dispose();
  expect(calls[0]?.signal.aborted).toBe(true);
});
