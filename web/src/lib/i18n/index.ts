/**
 * Words in two languages, switched live. `language` is a signal: a component that calls a translator while
 * rendering is drawn again when it changes. Catalogues are plain objects; the Chinese one is typed by the keys
 * of the English one, so a missing key fails the build.
 *
 * Text may hold `{name}` (a parameter) and `{n|room|rooms}` (a plural: the count's name, then one, then other).
 */
import { signal } from '@preact/signals';

export type Language = 'en' | 'zh-CN';
export const LANGUAGES: readonly Language[] = ['en', 'zh-CN'];
export type Parameters = Record<string, string | number>;
export type Translate<K extends string> = (key: K, parameters?: Parameters) => string;

const STORED = 'consilium.language';

function preferred(): Language {
  const stored = globalThis.localStorage?.getItem(STORED);
  if (stored === 'en' || stored === 'zh-CN') return stored;
  return (globalThis.navigator?.language ?? 'en').toLowerCase().startsWith('zh') ? 'zh-CN' : 'en';
}

export const language = signal<Language>(preferred());

/** Fill a text's parameters and plurals for a language. */
export function format(text: string, parameters: Parameters | undefined, lang: Language): string {
  if (!text.includes('{')) return text;
  return text.replace(/\{(\w+)(?:\|([^|}]*)\|([^}]*))?\}/g, (whole, name: string, one?: string, other?: string) => {
    const value = parameters?.[name];
    if (value === undefined) return whole;
    if (one !== undefined) return new Intl.PluralRules(lang).select(Number(value)) === 'one' ? one : (other ?? '');
    return typeof value === 'number' ? new Intl.NumberFormat(lang).format(value) : value;
  });
}

/**
 * Make a feature's translator from catalogues that are already loaded (they travel in the feature's own chunk).
 * `zh` must have every key of `en`.
 */
export function defineMessages<E extends Record<string, string>>(
  en: E,
  zh: Record<keyof E, string>,
): Translate<keyof E & string> {
  return (key, parameters) => format((language.value === 'zh-CN' ? zh : en)[key] ?? key, parameters, language.value);
}
