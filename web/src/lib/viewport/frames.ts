/**
 * Fetches and decodes frames over WADO-RS (PS3.18 10.4), in the order the viewport wants them.
 *
 * Wants go in (`want`), decoded pictures come out of two bounded stores: encoded bytes (so that a clip loops without
 * the network) and decoded pictures (few, they are large). Requests that are no longer wanted are cancelled.
 */
import { request } from '@/lib/api';
import { ByteCache } from './cache';
import type { Instance } from './dicom';
import { boundaryOf, parseMultipart } from './multipart';

export type Quality = 'preview' | 'full';

/** A decoded frame. Raw pixels are little-endian, one or two bytes each, or three bytes of colour. */
export type Picture =
  | { kind: 'bitmap'; key: string; bitmap: ImageBitmap; width: number; height: number; quality: Quality }
  | { kind: 'grey'; key: string; bytes: Uint8Array<ArrayBuffer>; width: number; height: number; quality: 'full' };

export interface Want {
  instance: Instance;
  /** From 1, as DICOM counts. */
  frame: number;
  quality: Quality;
}

export interface Body {
  bytes: Uint8Array<ArrayBuffer>;
  contentType: string;
}
export type FetchBody = (path: string, accept: string, signal: AbortSignal) => Promise<Body>;

export interface LoaderOptions {
  encoded_limit_bytes: number;
  decoded_limit_bytes: number;
  parallel: number;
  fetchBody?: FetchBody;
  decode?: (blob: Blob) => Promise<ImageBitmap>;
}

const JPEG_BASELINE = '1.2.840.10008.1.2.4.50';
const UNCOMPRESSED = new Set(['1.2.840.10008.1.2', '1.2.840.10008.1.2.1', '1.2.840.10008.1.2.1.99']);
const OCTETS = 'multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.1';
const STORED_JPEG = 'multipart/related; type="image/jpeg"; transfer-syntax=1.2.840.10008.1.2.4.50';
const BATCH = 12;

export function keyOf(want: Want): string {
  return `${want.instance.sopInstanceUid}/${want.frame}/${want.quality}`;
}

/** The stored frames are JPEGs that every browser decodes: they are their own full quality. */
export function isBrowserJpeg(instance: Instance): boolean {
  return instance.transferSyntax === JPEG_BASELINE && instance.bitsAllocated === 8;
}

/** The best quality this instance can have here. */
export function bestQuality(instance: Instance): Quality {
  if (isBrowserJpeg(instance)) return 'full';
  if (instance.needsServerRendering) return 'preview';
  if (instance.samples === 1) return 'full';
  // Colour other than plain RGB has conversions of its own: the server's rendering stands.
  const isPlainRgb = instance.photometric === 'RGB' && instance.planar === 0 && instance.bitsAllocated === 8;
  return isPlainRgb && UNCOMPRESSED.has(instance.transferSyntax ?? '') ? 'full' : 'preview';
}

/** What to fetch first: the stored JPEG itself, else the server's rendering. */
export function firstQuality(instance: Instance): Quality {
  return isBrowserJpeg(instance) ? 'full' : 'preview';
}

async function fetchOverApi(path: string, accept: string, signal: AbortSignal): Promise<Body> {
  const response = await request('GET', path, undefined, { headers: { accept }, signal, timeout_s: 60 });
  return {
    bytes: new Uint8Array(await response.arrayBuffer()),
    contentType: response.headers.get('content-type') ?? '',
  };
}

export function instancePath(instance: Pick<Instance, 'studyUid' | 'seriesUid' | 'sopInstanceUid'>): string {
  return `/dicomweb/studies/${instance.studyUid}/series/${instance.seriesUid}/instances/${instance.sopInstanceUid}`;
}

interface Encoded {
  blob: Blob | null;
  bytes: Uint8Array<ArrayBuffer> | null;
}

export class FrameLoader {
  private readonly encoded: ByteCache<Encoded>;
  private readonly decoded: ByteCache<Picture>;
  private readonly running = new Map<string, AbortController>();
  private readonly decoding = new Set<string>();
  private readonly failed = new Map<string, unknown>();
  private readonly withoutFull = new Set<string>();
  private wants: Want[] = [];
  private disposed = false;

  constructor(
    private readonly options: LoaderOptions,
    private readonly onChange: () => void,
  ) {
    this.encoded = new ByteCache(options.encoded_limit_bytes);
    this.decoded = new ByteCache(options.decoded_limit_bytes, (picture) => {
      if (picture.kind === 'bitmap') picture.bitmap.close();
    });
  }

  /** The best decoded picture of a frame that is here now. */
  best(instance: Instance, frame: number): Picture | undefined {
    return (
      this.decoded.get(keyOf({ instance, frame, quality: 'full' })) ??
      this.decoded.get(keyOf({ instance, frame, quality: 'preview' }))
    );
  }

  /** Why a frame is not here, when its fetch failed; undefined otherwise. */
  failure(want: Want): unknown {
    return this.failed.get(keyOf(want));
  }

  /** False when the server cannot give this instance's stored pixels: the preview is all there is. */
  hasFull(instance: Instance): boolean {
    return bestQuality(instance) === 'full' && !this.withoutFull.has(instance.sopInstanceUid);
  }

  /** State everything that is wanted, most urgent first; what is not in the list is cancelled. */
  want(wants: readonly Want[]): void {
    this.wants = wants.filter((want) => want.quality === 'preview' || this.hasFull(want.instance));
    const keys = new Set(this.wants.map(keyOf));
    for (const [label, controller] of this.running) {
      if (!label.split('|').some((key) => keys.has(key))) controller.abort();
    }
    this.pump();
  }

  retry(): void {
    this.failed.clear();
    this.withoutFull.clear();
    this.pump();
  }

  dispose(): void {
    this.disposed = true;
    for (const controller of this.running.values()) controller.abort();
    this.decoded.clear();
    this.encoded.clear();
  }

  private isHere(key: string): boolean {
    return this.encoded.has(key) || this.decoded.has(key);
  }

  private isRunning(key: string): boolean {
    return [...this.running.keys()].some((label) => label.split('|').includes(key));
  }

  private pump(): void {
    if (this.disposed) return;
    this.decodeNear();
    for (const want of this.wants) {
      if (this.running.size >= this.options.parallel) return;
      const key = keyOf(want);
      if (this.isHere(key) || this.failed.has(key) || this.isRunning(key)) continue;
      void this.load(this.batchFrom(want));
    }
  }

  /** Neighbouring wanted frames of one stored-JPEG clip travel in one request; others alone. */
  private batchFrom(first: Want): Want[] {
    const urgent = this.wants[0] === first;
    if (urgent || !isBrowserJpeg(first.instance) || first.instance.frames === 1) return [first];
    return this.wants
      .filter((want) => {
        const key = keyOf(want);
        return want.instance === first.instance && !this.isHere(key) && !this.failed.has(key) && !this.isRunning(key);
      })
      .slice(0, BATCH)
      .sort((a, b) => a.frame - b.frame);
  }

  private async load(batch: Want[]): Promise<void> {
    const controller = new AbortController();
    const label = batch.map(keyOf).join('|');
    this.running.set(label, controller);
    try {
      const bodies = await this.fetchFrames(batch, controller.signal);
      batch.forEach((want, i) => this.keep(want, bodies[i]));
    } catch (error) {
      if (!controller.signal.aborted) this.refuse(batch, error);
    } finally {
      this.running.delete(label);
      if (!this.disposed) {
        this.pump();
        this.onChange();
      }
    }
  }

  private async fetchFrames(batch: Want[], signal: AbortSignal): Promise<Body[]> {
    const fetchBody = this.options.fetchBody ?? fetchOverApi;
    const [first] = batch as [Want];
    const frames = `${instancePath(first.instance)}/frames/${batch.map((want) => want.frame).join(',')}`;
    if (first.quality === 'preview') return [await fetchBody(`${frames}/rendered`, 'image/jpeg', signal)];
    const body = await fetchBody(frames, isBrowserJpeg(first.instance) ? STORED_JPEG : OCTETS, signal);
    const boundary = boundaryOf(body.contentType);
    const parts: Body[] = boundary
      ? parseMultipart(body.bytes, boundary).map((part) => ({ bytes: part.body, contentType: part.contentType }))
      : [body];
    if (parts.length !== batch.length) throw new RangeError(`asked for ${batch.length} frames, got ${parts.length}`);
    return parts;
  }

  private keep(want: Want, body: Body | undefined): void {
    if (!body) return;
    const isImage = want.quality === 'preview' || /^image\//i.test(body.contentType) || isBrowserJpeg(want.instance);
    const size = body.bytes.byteLength;
    if (isImage) {
      const blob = new Blob([body.bytes], { type: 'image/jpeg' });
      this.encoded.set(keyOf(want), { blob, bytes: null }, size);
      return;
    }
    const { rows, columns, samples, bitsAllocated } = want.instance;
    const expected = rows * columns * samples * (bitsAllocated / 8);
    if (size < expected) throw new RangeError(`frame has ${size} bytes, ${expected} expected`);
    // A copy, because a view would keep the whole multipart body alive.
    this.encoded.set(keyOf(want), { blob: null, bytes: body.bytes.slice(0, expected) }, expected);
  }

  private refuse(batch: Want[], error: unknown): void {
    for (const want of batch) {
      // Without stored pixels the rendering stands; only a missing first picture is a failure to tell.
      if (want.quality === 'full' && firstQuality(want.instance) === 'preview') {
        this.withoutFull.add(want.instance.sopInstanceUid);
      }
      this.failed.set(keyOf(want), error); // never asked again by itself
    }
  }

  /** Decode what is wanted soonest and here already; the decoded store holds only a handful. */
  private decodeNear(): void {
    let room = 8;
    for (const want of this.wants) {
      if (room <= 0) return;
      const key = keyOf(want);
      const encoded = this.encoded.get(key);
      if (!encoded) continue;
      room -= 1;
      if (!this.decoded.has(key) && !this.decoding.has(key)) void this.decode(want, key, encoded);
    }
  }

  private async decode(want: Want, key: string, encoded: Encoded): Promise<void> {
    this.decoding.add(key);
    try {
      const picture = await this.toPicture(want, key, encoded);
      if (this.disposed) {
        if (picture.kind === 'bitmap') picture.bitmap.close();
        return;
      }
      this.decoded.set(key, picture, picture.width * picture.height * (picture.kind === 'bitmap' ? 4 : 2));
    } catch (error) {
      this.encoded.delete(key);
      this.failed.set(key, error);
    } finally {
      this.decoding.delete(key);
      if (!this.disposed) this.onChange();
    }
  }

  private async toPicture(want: Want, key: string, encoded: Encoded): Promise<Picture> {
    const { rows: height, columns: width, samples } = want.instance;
    const decode = this.options.decode ?? ((blob: Blob) => createImageBitmap(blob));
    if (encoded.blob) {
      const bitmap = await decode(encoded.blob);
      return { kind: 'bitmap', key, bitmap, width: bitmap.width, height: bitmap.height, quality: want.quality };
    }
    const bytes = encoded.bytes ?? new Uint8Array();
    if (samples === 1) return { kind: 'grey', key, bytes, width, height, quality: 'full' };
    const bitmap = await createImageBitmap(new ImageData(toRgba(bytes, width * height), width, height));
    return { kind: 'bitmap', key, bitmap, width, height, quality: 'full' };
  }
}

/** Interleaved 8-bit RGB to RGBA. */
export function toRgba(rgb: Uint8Array, pixels: number): Uint8ClampedArray<ArrayBuffer> {
  const rgba = new Uint8ClampedArray(pixels * 4);
  for (let i = 0, j = 0, k = 0; i < pixels; i++) {
    rgba[k++] = rgb[j++] ?? 0;
    rgba[k++] = rgb[j++] ?? 0;
    rgba[k++] = rgb[j++] ?? 0;
    rgba[k++] = 255;
  }
  return rgba;
}
