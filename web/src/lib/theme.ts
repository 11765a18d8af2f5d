/** Dark first, light, and high contrast; remembered per browser. */
import { effect, signal } from '@preact/signals';

export type Theme = 'dark' | 'light' | 'contrast';
export const THEMES: readonly Theme[] = ['dark', 'light', 'contrast'];
const STORED = 'consilium.theme';

function first(): Theme {
  const stored = globalThis.localStorage?.getItem(STORED);
  if (stored === 'dark' || stored === 'light' || stored === 'contrast') return stored;
  return globalThis.matchMedia?.('(prefers-contrast: more)').matches ? 'contrast' : 'dark';
}

export const theme = signal<Theme>(first());

/** Write the theme to the document now and at each change. */
export function applyTheme(): () => void {
  return effect(() => {
    document.documentElement.dataset['theme'] = theme.value;
    localStorage.setItem(STORED, theme.value);
  });
}
