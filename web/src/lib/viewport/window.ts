/** Window/level: the linear VOI function of PS3.3 C.11.2.1.2, its presets and its drag. Values are in modality units. */
export interface Window {
  center: number;
  width: number;
}

/** Grey 0..1 of a modality value (LINEAR function, PS3.3 C.11.2.1.2.1). */
export function grey(value: number, window: Window): number {
  if (window.width <= 1) return value <= window.center - 0.5 ? 0 : 1;
  const y = (value - (window.center - 0.5)) / (window.width - 1) + 0.5;
  return Math.min(1, Math.max(0, y));
}

/** The same function as `grey = clamp(stored * gain + bias)`, for a shader or a table. */
export function linear(window: Window, slope: number, intercept: number): { gain: number; bias: number } {
  const width = Math.max(window.width - 1, 1e-6);
  return { gain: slope / width, bias: (intercept - (window.center - 0.5)) / width + 0.5 };
}

/** A table from stored 8-bit values to display values, for colour or previews in the fall-back engine. */
export function table8(gain: number, bias: number, invert: boolean): Uint8ClampedArray {
  const table = new Uint8ClampedArray(256);
  for (let i = 0; i < 256; i++) {
    const value = (i / 255) * gain + bias;
    table[i] = Math.round((invert ? 1 - Math.min(1, Math.max(0, value)) : value) * 255);
  }
  return table;
}

/** The window after a drag: sideways changes the width, downwards the centre; a full box is about one whole range. */
export function dragWindow(start: Window, dx: number, dy: number, box: number, range: number): Window {
  const step = Math.max(range, 1) / Math.max(box, 1);
  return { center: start.center + dy * step, width: Math.max(1, start.width + dx * step) };
}

export interface Preset {
  id: 'default' | 'brain' | 'lung' | 'bone' | 'abdomen' | 'bright' | 'contrast' | 'soft';
  /** Null: what the object asks for. */
  window: Window | null;
}

/** Presets by modality: Hounsfield windows for CT, relative ones elsewhere. Keys 1-5 take them in order. */
export function presetsFor(modality: string, natural: Window): Preset[] {
  const first: Preset = { id: 'default', window: null };
  if (modality === 'CT') {
    return [
      first,
      { id: 'brain', window: { center: 40, width: 80 } },
      { id: 'lung', window: { center: -600, width: 1500 } },
      { id: 'bone', window: { center: 480, width: 2500 } },
      { id: 'abdomen', window: { center: 60, width: 400 } },
    ];
  }
  const { center, width } = natural;
  return [
    first,
    { id: 'contrast', window: { center, width: width * 0.6 } },
    { id: 'soft', window: { center, width: width * 1.6 } },
    { id: 'bright', window: { center: center - width * 0.2, width: width * 0.8 } },
  ];
}
