/** DICOM person names (PS3.5 6.2: `Family^Given=ideographic=phonetic`) as the banner's PersonName. */
import type { PersonName, StudyName } from '@/protocol/types';

export function personFromGroups(name: StudyName | null | undefined): PersonName {
  const [family = '', given = ''] = (name?.alphabetic ?? '').split('^');
  return { family, given, ideographic: name?.ideographic ?? null, phonetic: name?.phonetic ?? null };
}

export function personFromPn(pn: string): PersonName {
  const [alphabetic = '', ideographic = '', phonetic = ''] = pn.split('=');
  return personFromGroups({ alphabetic, ideographic: ideographic || null, phonetic: phonetic || null });
}
