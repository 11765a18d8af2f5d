/** Names of patients in both scripts. The ideographic form leads where there is one and the page is Chinese. */
import type { PersonName, StudyName } from '@/protocol/types';
import { language } from './i18n';

export interface TwoScripts {
  first: string;
  second: string | null;
}

function order(latin: string, ideographic: string): TwoScripts {
  if (latin === '' || ideographic === '' || latin === ideographic) return { first: ideographic || latin, second: null };
  return language.value === 'zh-CN' ? { first: ideographic, second: latin } : { first: latin, second: ideographic };
}

/** A DICOM PN component group (`Family^Given^Middle`) as people write it. */
export function readableName(group: string | null | undefined): string {
  return (group ?? '').split('^').filter(Boolean).join(' ').trim();
}

export function personName(name: PersonName): TwoScripts {
  return order([name.family, name.given].filter(Boolean).join(' '), readableName(name.ideographic).replaceAll(' ', ''));
}

export function studyName(name: StudyName | null | undefined): TwoScripts {
  return order(readableName(name?.alphabetic), readableName(name?.ideographic).replaceAll(' ', ''));
}

/** Family names of two characters, the common ones; every other Chinese family name has one. */
const COMPOUND = new Set(
  '欧阳 司马 上官 诸葛 皇甫 慕容 令狐 尉迟 长孙 司徒 夏侯 东方 南宫 公孙 轩辕 宇文 端木 独孤'.split(' '),
);

/** A name in Chinese characters as the DICOM component group `family^given`; other scripts come back unchanged. */
export function splitIdeographic(name: string): string {
  const text = name.replaceAll(/\s+/g, '');
  if (text.includes('^') || !/^\p{Script=Han}{2,4}$/u.test(text)) return name.trim();
  const cut = text.length > 2 && COMPOUND.has(text.slice(0, 2)) ? 2 : 1;
  return `${text.slice(0, cut)}^${text.slice(cut)}`;
}
