import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { defineMessages, format, language } from '@/lib/i18n';
import { loadCatalogue, setLanguage, t } from '@/lib/i18n/app';
import { en } from '@/lib/i18n/en';
import { zhCN } from '@/lib/i18n/zh-CN';

function sources(folder: string): string {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.tsx?$/.test(name) && !/i18n\/(en|zh-CN)\.ts$/.test(name.replaceAll('\\', '/')))
    .map((name) => readFileSync(join(folder, name), 'utf8'))
    .join('\n');
}

/** Parameters of a text: their names in order, plurals by the name of their count. */
const parameters = (text: string) => [...new Set([...text.matchAll(/\{(\w+)[|}]/g)].map((match) => match[1]))].sort();

describe('catalogues', () => {
  const code = sources(join(import.meta.dirname, '../../src'));

  it('have no key that nothing uses', () => {
    // Built keys: t(`role.${role}`) uses every key that starts with `role.`.
    const built = [...code.matchAll(/[`']([a-z_]+(?:\.[a-z_]+)*\.)\$\{/g)].map((match) => match[1] ?? '');
    const unused = Object.keys(en).filter(
      (key) => !code.includes(`'${key}'`) && !built.some((start) => key.startsWith(start)),
    );
    expect(unused).toEqual([]);
  });

  it('take the same parameters in both languages', () => {
    const different = Object.entries(en).filter(
      ([key, text]) => parameters(text).join() !== parameters(zhCN[key as keyof typeof en]).join(),
    );
    expect(different).toEqual([]);
  });

  it('leave no Chinese text untranslated', () => {
    const same = Object.entries(en).filter(([key, text]) => zhCN[key as keyof typeof en] === text);
    expect(same.map(([key]) => key)).toEqual(['report.pdf']);
  });
});

describe('formatting', () => {
  it('fills parameters and leaves unknown ones visible', () => {
    expect(format('{name} of {n}', { name: 'Lin' }, 'en')).toBe('Lin of {n}');
  });

  it('chooses plurals by the rules of the language', () => {
    expect(format('{n} {n|image|images}', { n: 1 }, 'en')).toBe('1 image');
    expect(format('{n} {n|image|images}', { n: 1200 }, 'en')).toBe('1,200 images');
  });
});

describe('switching', () => {
  afterEach(async () => setLanguage('en'));

  it('changes the words live and remembers the choice', async () => {
    await loadCatalogue('en');
    await setLanguage('en');
    expect(t('nav.home')).toBe('Home');
    await setLanguage('zh-CN');
    expect(t('nav.home')).toBe('首页');
    expect(document.documentElement.lang).toBe('zh-CN');
    expect(localStorage.getItem('consilium.language')).toBe('zh-CN');
  });

  it('reaches a feature catalogue too', () => {
    const words = defineMessages({ freeze: 'Freeze' }, { freeze: '冻结' });
    expect(words('freeze')).toBe('Freeze');
    language.value = 'zh-CN';
    expect(words('freeze')).toBe('冻结');
  });
});
