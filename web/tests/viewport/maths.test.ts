/** The viewport's pure parts: window, cine, geometry, multipart, DICOM JSON, stores. */
import { describe, expect, it } from 'vitest';
import { ByteCache } from '@/lib/viewport/cache';
import { CineClock, cineTiming, frameAt, loopMs } from '@/lib/viewport/cine';
import { inOrder, isDeep, naturalWindow, readInstance, windowOf, type DicomJson } from '@/lib/viewport/dicom';
import { twoFingerIntent } from '@/lib/viewport/gestures';
import { boundaryOf, parseMultipart } from '@/lib/viewport/multipart';
import { onlyPatientOf } from '@/lib/viewport/PriorPane';
import { windowGrey } from '@/lib/viewport/render-2d';
import { order } from '@/lib/viewport/render';
import { displaySets, keepUnchanged } from '@/lib/viewport/study';
import { apply, fitScale, invert, orientation, toBox, UPRIGHT, zoomAt } from '@/lib/viewport/transform';
import { dragWindow, grey, linear, presetsFor, table8 } from '@/lib/viewport/window';

function dicom(tags: Record<string, unknown>): DicomJson {
  return Object.fromEntries(
    Object.entries(tags).map(([tag, value]) => [tag, { vr: 'XX', Value: Array.isArray(value) ? value : [value] }]),
  );
}
const CT = {
  '00280010': 512,
  '00280011': 512,
  '00280100': 16,
  '00280101': 12,
  '00280103': 0,
  '00281052': -1024,
  '00281053': 1,
};

describe('window', () => {
  it('follows PS3.3 C.11.2.1.2.1 with its half values', () => {
    const window = { center: 2048, width: 4096 };
    expect(grey(0, window)).toBe(0);
    expect(grey(4095, window)).toBe(1);
    expect(grey(2047.5, window)).toBeCloseTo(0.5);
    expect(grey(9, { center: 10, width: 1 })).toBe(0);
    expect(grey(10, { center: 10, width: 1 })).toBe(1);
  });

  it('gives the same grey as gain and bias over stored values', () => {
    const window = { center: 40, width: 400 };
    const { gain, bias } = linear(window, 1, -1024);
    for (const stored of [900, 1000, 1064, 1200]) {
      expect(Math.min(1, Math.max(0, stored * gain + bias))).toBeCloseTo(grey(stored - 1024, window));
    }
  });

  it('leaves a rendering as it is without a window, and turns it right with one', () => {
    const instance = readInstance(dicom({ ...CT, '00281050': 40, '00281051': 400 }));
    const picture = {
      kind: 'bitmap',
      key: 'k',
      bitmap: {} as ImageBitmap,
      width: 1,
      height: 1,
      quality: 'preview',
    } as const;
    expect(order(picture, instance, null, false, [1, 0, 0, 1, 0, 0])).toMatchObject({ gain: 1, bias: 0 });
    const same = order(picture, instance, { center: 40, width: 400 }, false, [1, 0, 0, 1, 0, 0]);
    expect(same.gain).toBeCloseTo(1);
    expect(same.bias).toBeCloseTo(0);
    const narrow = order(picture, instance, { center: 40, width: 200 }, false, [1, 0, 0, 1, 0, 0]);
    // 40 HU is grey 0.5 in both; 140 HU is 0.75 in the rendering and white in the narrow window.
    expect(0.5 * narrow.gain + narrow.bias).toBeCloseTo(0.5, 2);
    expect(0.752 * narrow.gain + narrow.bias).toBeGreaterThan(0.99);
  });

  it('changes width sideways and centre downwards, and never falls below 1', () => {
    const start = { center: 40, width: 400 };
    expect(dragWindow(start, 50, 0, 500, 1000)).toEqual({ center: 40, width: 500 });
    expect(dragWindow(start, 0, -50, 500, 1000)).toEqual({ center: -60, width: 400 });
    expect(dragWindow(start, -9_000, 0, 500, 1000).width).toBe(1);
  });

  it('has a way back to what the object asks for, as the first preset of every modality', () => {
    for (const modality of ['CT', 'MR', 'US', '']) {
      expect(presetsFor(modality, { center: 128, width: 256 })[0]).toEqual({ id: 'default', window: null });
    }
    expect(presetsFor('CT', { center: 0, width: 1 }).find((preset) => preset.id === 'lung')?.window).toEqual({
      center: -600,
      width: 1500,
    });
  });

  it('inverts its table', () => {
    const plain = table8(1, 0, false);
    const inverted = table8(1, 0, true);
    expect([plain[0], plain[255], inverted[0], inverted[255]]).toEqual([0, 255, 255, 0]);
  });

  it('windows stored numbers: two bytes, sign, and bits above the stored ones ignored', () => {
    const out = new Uint8ClampedArray(12);
    const bytes = new Uint8Array([0x00, 0x08, 0xff, 0x07, 0xff, 0xff]); // -2048, 2047, -1 with 12 stored bits
    windowGrey(
      { gain: 1 / 4095, bias: 2048 / 4095, invert: false, bitsStored: 12, bytesPerPixel: 2, signed: true },
      bytes,
      out,
    );
    expect([out[0], out[4], out[8]]).toEqual([0, 255, 127]);
    expect(out[3]).toBe(255);
  });
});

describe('cine', () => {
  it('uses the stored frame time, round the loop', () => {
    const timing = cineTiming(3, 40);
    expect([0, 39.9, 40, 119.9, 120, 165].map((ms) => frameAt(timing, ms))).toEqual([0, 0, 1, 2, 0, 1]);
    expect(frameAt(timing, -1)).toBe(2);
  });

  it('uses a vector of increments', () => {
    const timing = cineTiming(3, null, [0, 10, 100]);
    expect(loopMs(timing)).toBe(210);
    expect([9, 10, 109, 110].map((ms) => frameAt(timing, ms))).toEqual([0, 1, 1, 2]);
  });

  it('falls back to 25 per second for missing or senseless times', () => {
    expect(loopMs(cineTiming(25, 0))).toBeCloseTo(1000);
    expect(frameAt(cineTiming(0, 40), 500)).toBe(0);
  });

  it('waits for a late frame instead of skipping the rest', () => {
    const clock = new CineClock(cineTiming(100, 10), 0, 0);
    expect(clock.due(35)).toBe(3);
    clock.hold(1, 1_000);
    expect(clock.due(1_000)).toBe(1);
    expect(clock.due(1_010)).toBe(2);
  });
});

describe('geometry', () => {
  const picture = { width: 400, height: 200, aspect: 1 };
  const box = { width: 300, height: 300 };

  it.each([0, 1, 2, 3])('fits the whole picture after %i quarter turns', (turns) => {
    const view = { scale: fitScale(picture, box, turns), panX: 0, panY: 0, ...UPRIGHT, turns };
    const affine = toBox(view, picture, box);
    const corners = [
      [0, 0],
      [400, 0],
      [0, 200],
      [400, 200],
    ].map(([x = 0, y = 0]) => apply(affine, x, y));
    for (const [x, y] of corners) {
      expect(x).toBeGreaterThanOrEqual(-1e-9);
      expect(x).toBeLessThanOrEqual(300 + 1e-9);
      expect(y).toBeGreaterThanOrEqual(-1e-9);
      expect(y).toBeLessThanOrEqual(300 + 1e-9);
    }
    const [cx, cy] = apply(affine, 200, 100);
    expect([cx, cy]).toEqual([150, 150].map((n) => expect.closeTo(n)));
  });

  it('turns clockwise and mirrors', () => {
    const turned = toBox({ scale: 1, panX: 0, panY: 0, turns: 1, flipH: false, flipV: false }, picture, box);
    expect(apply(turned, 0, 100)[1]).toBeLessThan(apply(turned, 400, 100)[1]); // the left edge is on top
    const mirrored = toBox({ scale: 1, panX: 0, panY: 0, turns: 0, flipH: true, flipV: false }, picture, box);
    expect(apply(mirrored, 0, 0)[0]).toBeGreaterThan(apply(mirrored, 400, 0)[0]);
  });

  it('goes back by its inverse', () => {
    const affine = toBox(
      { scale: 1.7, panX: 12, panY: -4, turns: 3, flipH: true, flipV: false },
      { ...picture, aspect: 1.2 },
      box,
    );
    const [x, y] = apply(invert(affine), ...apply(affine, 37, 151));
    expect(x).toBeCloseTo(37);
    expect(y).toBeCloseTo(151);
  });

  it('stretches pixels that are not square', () => {
    const affine = toBox({ scale: 1, panX: 0, panY: 0, ...UPRIGHT }, { ...picture, aspect: 2 }, box);
    expect(apply(affine, 0, 1)[1] - apply(affine, 0, 0)[1]).toBeCloseTo(2);
  });

  it('keeps the point under the pointer when it zooms', () => {
    const view = { scale: 1, panX: 5, panY: 7, ...UPRIGHT };
    const at = { x: 210, y: 40 };
    const before = apply(invert(toBox(view, picture, box)), at.x, at.y);
    const after = apply(invert(toBox(zoomAt(view, box, 2.5, at), picture, box)), at.x, at.y);
    expect(after[0]).toBeCloseTo(before[0]);
    expect(after[1]).toBeCloseTo(before[1]);
  });

  it('tells a pinch from two fingers side by side', () => {
    const from = [
      { x: 100, y: 100 },
      { x: 200, y: 100 },
    ] as const;
    expect(
      twoFingerIntent(from, [
        { x: 80, y: 100 },
        { x: 220, y: 100 },
      ]),
    ).toBe('pinch');
    expect(
      twoFingerIntent(from, [
        { x: 120, y: 130 },
        { x: 220, y: 130 },
      ]),
    ).toBe('window');
    expect(
      twoFingerIntent(from, [
        { x: 101, y: 100 },
        { x: 201, y: 102 },
      ]),
    ).toBeNull();
  });
});

describe('multipart', () => {
  const body = (text: string) => new Uint8Array([...text].map((char) => char.charCodeAt(0)));

  it('reads the boundary quoted or plain', () => {
    expect(boundaryOf('multipart/related; type="image/jpeg"; boundary=abc')).toBe('abc');
    expect(boundaryOf('multipart/related; boundary="a b"; type=x')).toBe('a b');
    expect(boundaryOf('image/jpeg')).toBeNull();
  });

  it('splits parts byte for byte, with or without a stated length', () => {
    const parts = parseMultipart(
      body(
        '\r\n--b\r\nContent-Type: image/jpeg; x=1\r\n\r\n\xff\xd8--\r\n\r\n--b\r\nContent-Length: 6\r\n\r\n--b\r\nZ\r\n--b--\r\n',
      ),
      'b',
    );
    expect(parts.map((part) => part.contentType)).toEqual(['image/jpeg; x=1', 'application/octet-stream']);
    expect([...(parts[0]?.body ?? [])]).toEqual([0xff, 0xd8, 0x2d, 0x2d, 0x0d, 0x0a]);
    expect(new TextDecoder().decode(parts[1]?.body)).toBe('--b\r\nZ');
  });

  it('refuses a cut body', () => {
    expect(() => parseMultipart(body('--b\r\nA: b\r\n\r\nhalf'), 'b')).toThrow(RangeError);
    expect(() => parseMultipart(body('nothing'), 'b')).toThrow(RangeError);
  });
});

describe('DICOM JSON', () => {
  it('reads format, window, times and lossiness', () => {
    const instance = readInstance(
      dicom({
        ...CT,
        '00080018': '1.2',
        '00280008': '120',
        '00181063': '33.3',
        '00281050': [40, 500],
        '00281051': [400, 1500],
        '00282110': '01',
        '00282112': ['8.5', '12'],
        '00083002': '1.2.840.10008.1.2.4.50',
      }),
    );
    expect(instance).toMatchObject({
      frames: 120,
      frameTime_ms: 33.3,
      window: { center: 40, width: 400 },
      lossy: true,
      lossyRatio: 12,
      intercept: -1024,
    });
    expect(isDeep(instance)).toBe(true);
  });

  it('reads the functional groups of enhanced objects', () => {
    const group = dicom({
      '00289132': [dicom({ '00281050': 300, '00281051': 600 })],
      '00289145': [dicom({ '00281052': -10, '00281053': 2 })],
    });
    const instance = readInstance({
      ...dicom({ '00280010': 1, '00280011': 1 }),
      '52009229': { vr: 'SQ', Value: [group] },
    });
    expect(instance).toMatchObject({ window: { center: 300, width: 600 }, slope: 2, intercept: -10 });
  });

  it('takes the whole stored range when no window is asked for', () => {
    expect(naturalWindow(readInstance(dicom(CT)))).toEqual({ center: 1024, width: 4096 });
    expect(naturalWindow(readInstance(dicom({ ...CT, '00280103': 1, '00281052': 0 })))).toEqual({
      center: 0,
      width: 4096,
    });
  });

  it('finds a window in the pixels themselves: sign, rescale, garbage above the stored bits', () => {
    const signed = readInstance(dicom({ ...CT, '00280103': 1, '00281052': 10, '00281053': 2 }));
    const bytes = new Uint8Array([0xff, 0xff, 100, 0xf0]); // -1 and 100 in 12 bits
    expect(windowOf(bytes, signed)).toEqual({ center: 109.5, width: 203 });
    expect(windowOf(new Uint8Array([5, 0]), signed).width).toBeGreaterThan(1);
  });

  it('turns a cine rate into a frame time and survives an empty object', () => {
    expect(readInstance(dicom({ '00180040': 50 })).frameTime_ms).toBe(20);
    expect(readInstance({})).toMatchObject({ frames: 1, rows: 0, aspect: 1, window: null });
  });

  it('orders by place in the patient, else by number', () => {
    const at = (z: number, n: number) =>
      readInstance(dicom({ '00200032': [0, 0, z], '00200037': [1, 0, 0, 0, 1, 0], '00200013': n, '00080018': `${n}` }));
    expect(inOrder([at(5, 1), at(-5, 2), at(0, 3)]).map((one) => one.number)).toEqual([2, 3, 1]);
    expect(inOrder([at(0, 2), at(0, 1)]).map((one) => one.number)).toEqual([1, 2]);
  });

  it('makes one stack of the single frames and a clip of each multi-frame object', () => {
    const one = (uid: string, frames: number, n: number) =>
      readInstance(dicom({ '00080018': uid, '00280008': frames, '00200013': n }));
    const sets = displaySets([one('clip', 30, 1), one('b', 1, 3), one('a', 1, 2)]);
    expect(sets.map((set) => [set.id, set.isClip, set.instances.length])).toEqual([
      ['a', false, 2],
      ['clip', true, 1],
    ]);
    const again = displaySets([one('clip', 30, 1), one('b', 1, 3), one('a', 1, 2), one('c', 1, 4)]);
    const kept = keepUnchanged(sets, again);
    expect(kept[1]).toBe(sets[1]);
    expect(kept[0]).not.toBe(sets[0]);
  });
});

it('never mixes patients, even when the archive ignores the filter', () => {
  const row = (studyUid: string, patientId: string) => ({
    studyUid,
    patientId,
    date: null,
    description: '',
    modalities: [],
  });
  const rows = [row('1', 'A'), row('2', 'B'), row('3', 'A')];
  expect(onlyPatientOf(rows, '1').map((one) => one.studyUid)).toEqual(['1', '3']);
  expect(onlyPatientOf(rows, '9')).toEqual([]);
});

it('drops the least recently used above its cap and tells what it dropped', () => {
  const dropped: string[] = [];
  const cache = new ByteCache<string>(10, (value) => dropped.push(value));
  cache.set('a', 'A', 4);
  cache.set('b', 'B', 4);
  cache.get('a');
  cache.set('c', 'C', 4);
  expect(dropped).toEqual(['B']);
  expect(cache.size_bytes).toBe(8);
  cache.set('huge', 'H', 99);
  expect(cache.get('huge')).toBe('H');
  cache.clear();
  expect(cache.size_bytes).toBe(0);
});

it('says how a picture stands against the stored one', () => {
  const stands = (turns: number, flipH: boolean, flipV: boolean) => Object.values(orientation({ turns, flipH, flipV }));
  expect(stands(0, false, false)).toEqual([false, 0]);
  expect(stands(0, true, false)).toEqual([true, 0]);
  expect(stands(0, false, true)).toEqual([true, 180]);
  expect(stands(2, true, true)).toEqual([false, 0]); // both flips are half a turn
  expect(stands(3, false, false)).toEqual([false, 270]);
});
