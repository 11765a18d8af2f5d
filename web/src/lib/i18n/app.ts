/** The shell's and the desk's own words: one catalogue per language, loaded when the language is first wanted. */
import { signal } from '@preact/signals';
import { loadSentences } from '../problemWords';
import { format, language, type Language, type Translate } from '.';
import type { MessageKey } from './en';

export type { MessageKey } from './en';
type Catalogue = Record<MessageKey, string>;

const loaders: Record<Language, () => Promise<Catalogue>> = {
  en: async () => (await import('./en')).en,
  'zh-CN': async () => {
    const [{ zhCN }] = await Promise.all([import('./zh-CN'), loadSentences()]);
    return zhCN;
  },
};
const loaded = signal<Partial<Record<Language, Catalogue>>>({});

/** Load a language's catalogue; resolves at once when it is here already. */
export async function loadCatalogue(lang: Language): Promise<void> {
  if (loaded.value[lang]) return;
  const catalogue = await loaders[lang]();
  loaded.value = { ...loaded.value, [lang]: catalogue };
}

/** Switch the language of the whole page without a reload; remembered for the next visit. */
export async function setLanguage(lang: Language): Promise<void> {
  await loadCatalogue(lang);
  localStorage.setItem('consilium.language', lang);
  document.documentElement.lang = lang;
  language.value = lang;
}

export const t: Translate<MessageKey> = (key, parameters) => {
  const catalogue = loaded.value[language.value];
  return catalogue ? format(catalogue[key], parameters, language.value) : '';
};
