/** The tools above the pictures: what a drag does, presets, turning, size, grid. */
import type { ComponentChildren } from 'react';
import { Segmented } from '@/kit';
import { naturalWindow } from '@/lib/viewport/dicom';
import { toggleOne, type DragTool } from '@/lib/viewport/gestures';
import type { Viewport } from '@/lib/viewport/viewport';
import { presetsFor, type Preset } from '@/lib/viewport/window';
import { w } from './words';

export type Grid = '1x1' | '1x2' | '2x2';
export const GRIDS: readonly Grid[] = ['1x1', '1x2', '2x2'];
export const CELLS: Record<Grid, number> = { '1x1': 1, '1x2': 2, '2x2': 4 };

const ICONS = {
  invert: 'M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18ZM12 3v18M12 7h7M12 11h9M12 15h8',
  rotate: 'M19 12a7 7 0 1 1-2.2-5.1L19 9M19 4v5h-5',
  flip_h: 'M12 4v16M9 8 4 16h5zM15 8l5 8h-5z',
  flip_v: 'M4 12h16M8 9l8-5v5zM8 15l8 5v-5z',
  fit: 'M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5',
  reset: 'M4 12a8 8 0 1 0 2.5-5.8L4 8.5M4 4v4.5h4.5',
} as const;

/** The presets that suit the picture on the screen. */
export function presetsOf(viewport: Viewport | null): Preset[] {
  const instance = viewport?.state.value.instance;
  return instance ? presetsFor(instance.modality, naturalWindow(instance)) : [];
}

export function PresetPicker({ viewport }: { viewport: Viewport | null }) {
  const presets = presetsOf(viewport);
  const now = viewport?.state.value.window ?? null;
  const chosen = presets.find((preset) => preset.window?.center === now?.center && preset.window?.width === now?.width);
  return (
    <select
      className="input preset"
      aria-label={w('presets')}
      data-testid="presets"
      value={chosen?.id ?? ''}
      disabled={presets.length === 0}
      onChange={(event) => {
        const preset = presets.find((candidate) => candidate.id === event.currentTarget.value);
        if (preset) viewport?.setWindow(preset.window);
      }}
    >
      {!chosen && <option value="">{w('presets')}</option>}
      {presets.map((preset, i) => (
        <option key={preset.id} value={preset.id}>
          {i + 1} · {w(`preset_${preset.id}`)}
        </option>
      ))}
    </select>
  );
}

interface Props {
  viewport: Viewport | null;
  tool: DragTool;
  grid: Grid;
  onTool: (tool: DragTool) => void;
  onGrid: (grid: Grid) => void;
  children?: ComponentChildren;
}

export function ViewerTools({ viewport, tool, grid, onTool, onGrid, children }: Props) {
  return (
    <div className="viewer-tools" role="toolbar" aria-label={w('tools')}>
      <Segmented
        label={w('tools')}
        value={tool}
        onChange={onTool}
        options={(['window', 'scroll', 'pan', 'zoom'] as const).map((value) => ({ value, label: w(`tool_${value}`) }))}
      />
      <PresetPicker viewport={viewport} />
      <PictureButtons viewport={viewport} />
      {children}
      <span className="grow" />
      <Segmented
        label={w('grid')}
        value={grid}
        onChange={onGrid}
        options={GRIDS.map((value) => ({ value, label: value.replace('x', '×') }))}
      />
    </div>
  );
}

export function PictureButtons({ viewport }: { viewport: Viewport | null }) {
  const inverted = viewport?.state.value.invert ?? false;
  const acts: readonly [keyof typeof ICONS, string, () => void][] = viewport
    ? [
        ['invert', 'i', () => viewport.setInvert(!inverted)],
        ['rotate', 'r', () => viewport.rotate(1)],
        ['flip_h', 'h', () => viewport.flip('h')],
        ['flip_v', 'v', () => viewport.flip('v')],
        ['fit', '=', () => toggleOne(viewport)],
        ['reset', '0', () => viewport.reset()],
      ]
    : [];
  return (
    <span className="picture-buttons">
      {acts.map(([name, key, act]) => (
        <button
          key={name}
          type="button"
          className="btn btn-quiet btn-icon"
          aria-label={w(name)}
          title={`${w(name)} (${key})`}
          aria-pressed={name === 'invert' ? inverted : undefined}
          data-testid={`view-${name}`}
          onClick={act}
        >
          <svg className="icon" viewBox="0 0 24 24" aria-hidden="true">
            <path d={ICONS[name]} />
          </svg>
        </button>
      ))}
    </span>
  );
}
