/**
 * What the viewer needs of an instance's DICOM JSON (PS3.18 F): geometry, pixel format, window, cine times.
 * In goes one element of a `/metadata` or QIDO answer, out comes an Instance; missing optional facts stay null.
 */
import type { Window } from './window';

interface Element {
  vr: string;
  Value?: unknown[];
}
export type DicomJson = Record<string, Element>;

export interface Instance {
  studyUid: string;
  seriesUid: string;
  sopInstanceUid: string;
  modality: string;
  number: number;
  /** Position along the stack's normal, when the object has a place in the patient. */
  position: number | null;
  rows: number;
  columns: number;
  frames: number;
  samples: number;
  photometric: string;
  /** Colour by plane (1) or by pixel (0). */
  planar: number;
  bitsAllocated: number;
  bitsStored: number;
  signed: boolean;
  slope: number;
  intercept: number;
  /** The first window the object asks for. */
  window: Window | null;
  /** Height of a pixel over its width. */
  aspect: number;
  transferSyntax: string | null;
  lossyRatio: number | null;
  lossy: boolean;
  frameTime_ms: number | null;
  frameTimeVector_ms: number[] | null;
  /** A modality or VOI table that a linear window cannot replace: the server's rendering is the truth. */
  needsServerRendering: boolean;
}

function values(json: DicomJson, tag: string): unknown[] {
  return json[tag]?.Value ?? [];
}

export function number(json: DicomJson, tag: string): number | null {
  const value = values(json, tag)[0];
  if (value === undefined || value === null || value === '') return null;
  const parsed = Number(value);
  return Number.isFinite(parsed) ? parsed : null;
}

export function text(json: DicomJson, tag: string): string {
  const value = values(json, tag)[0];
  if (typeof value === 'string') return value;
  if (typeof value === 'number') return String(value);
  return '';
}

export function numbers(json: DicomJson, tag: string): number[] {
  return values(json, tag).map(Number).filter(Number.isFinite);
}

function sequence(json: DicomJson, tag: string): DicomJson | undefined {
  return values(json, tag)[0] as DicomJson | undefined;
}

// Pixel measures, VOI, pixel value transformation, plane position.
const FUNCTIONAL_GROUPS = ['00289110', '00289132', '00289145', '00209113'];

/** The shared functional groups' item (enhanced objects), so that their facts read like plain ones. */
function flattened(json: DicomJson): DicomJson {
  const shared = sequence(json, '52009229');
  const first = sequence(json, '52009230');
  const flat: DicomJson = {};
  for (const group of [first, shared]) {
    for (const tag of FUNCTIONAL_GROUPS) Object.assign(flat, group && sequence(group, tag));
  }
  return Object.assign(flat, json);
}

export function readInstance(source: DicomJson): Instance {
  const json = flattened(source);
  const width = number(json, '00281051');
  const center = number(json, '00281050');
  const spacing = numbers(json, '00280030');
  const ratio = numbers(json, '00280034');
  const pair = spacing.length === 2 ? spacing : ratio;
  const aspect = pair[0] && pair[1] ? pair[0] / pair[1] : 1;
  const rate = number(json, '00180040') ?? number(json, '00082144');
  const vector = numbers(json, '00181065');
  const lossyRatio = numbers(json, '00282112').at(-1) ?? null;
  return {
    studyUid: text(json, '0020000D'),
    seriesUid: text(json, '0020000E'),
    sopInstanceUid: text(json, '00080018'),
    modality: text(json, '00080060'),
    number: number(json, '00200013') ?? 0,
    position: slicePosition(json),
    rows: number(json, '00280010') ?? 0,
    columns: number(json, '00280011') ?? 0,
    frames: Math.max(1, number(json, '00280008') ?? 1),
    samples: number(json, '00280002') ?? 1,
    photometric: text(json, '00280004') || 'MONOCHROME2',
    planar: number(json, '00280006') ?? 0,
    bitsAllocated: number(json, '00280100') ?? 8,
    bitsStored: number(json, '00280101') ?? number(json, '00280100') ?? 8,
    signed: number(json, '00280103') === 1,
    slope: number(json, '00281053') ?? 1,
    intercept: number(json, '00281052') ?? 0,
    window: center !== null && width !== null && width > 0 ? { center, width } : null,
    aspect: aspect > 0.1 && aspect < 10 ? aspect : 1,
    transferSyntax: text(json, '00083002') || text(json, '00020010') || null,
    lossy: text(json, '00282110') === '01',
    lossyRatio,
    frameTime_ms: number(json, '00181063') ?? (rate && rate > 0 ? 1000 / rate : null),
    frameTimeVector_ms: vector.length > 1 ? vector : null,
    needsServerRendering: '00283000' in json || ('00283010' in json && width === null),
  };
}

/** ImagePositionPatient along the normal of ImageOrientationPatient, in mm. */
function slicePosition(json: DicomJson): number | null {
  const p = numbers(json, '00200032');
  const o = numbers(json, '00200037');
  if (p.length !== 3 || o.length !== 6) return null;
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = o;
  return (p[0] ?? 0) * (b * f - c * e) + (p[1] ?? 0) * (c * d - a * f) + (p[2] ?? 0) * (a * e - b * d);
}

/** Order a series for scrolling: by place in the patient when every instance has one, else by instance number. */
export function inOrder(instances: readonly Instance[]): Instance[] {
  const placed = instances.length > 1 && instances.every((instance) => instance.position !== null);
  const distinct = new Set(instances.map((instance) => instance.position)).size === instances.length;
  return [...instances].sort((a, b) =>
    placed && distinct ? (a.position ?? 0) - (b.position ?? 0) : a.number - b.number,
  );
}

/** The window that shows an instance when it asks for none: the whole stored range. */
export function naturalWindow(instance: Instance): Window {
  if (instance.window) return instance.window;
  if (instance.samples > 1) return { center: 128, width: 256 };
  const span = 2 ** instance.bitsStored;
  const low = instance.signed ? -span / 2 : 0;
  return { center: (low + span / 2) * instance.slope + instance.intercept, width: span * Math.abs(instance.slope) };
}

/** The window from the least to the greatest value of a raw frame, for objects that ask for none. */
export function windowOf(bytes: Uint8Array, instance: Instance): Window {
  const span = 2 ** instance.bitsStored;
  const two = instance.bitsAllocated > 8;
  let [low, high] = [Infinity, -Infinity];
  for (let i = 0; i < bytes.length; i += two ? 2 : 1) {
    const stored = ((bytes[i] ?? 0) | (two ? (bytes[i + 1] ?? 0) << 8 : 0)) & (span - 1);
    const value = instance.signed && stored >= span / 2 ? stored - span : stored;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (high <= low) return { center: low * instance.slope + instance.intercept, width: 2 };
  const middle = ((low + high) / 2) * instance.slope + instance.intercept;
  return { center: middle + 0.5, width: (high - low) * Math.abs(instance.slope) + 1 };
}

/** True when 8 bits lose what a window could show: the raw frame is worth fetching. */
export function isDeep(instance: Instance): boolean {
  return instance.samples === 1 && instance.bitsStored > 8 && !instance.needsServerRendering;
}
