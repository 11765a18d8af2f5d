/** The quarantine desk's objects as the screen sees them, and the acts on one of them or on its like in a study. */
import { api, withQuery } from '@/lib/api';
import { language } from '@/lib/i18n';
import type { components } from '@/protocol/openapi';
import type { Page } from '@/protocol/types';

export type Held = components['schemas']['EntryOut'];
export type HeldWhole = components['schemas']['EntryWhole'];
export type Finding = components['schemas']['FindingOut'];
export type Correction = Omit<components['schemas']['IdentityIn'], 'version' | 'reason'>;
export type HeldState = Held['state'];

export const DESK = '/api/v1/ingest/quarantine';
export const STATES: readonly HeldState[] = ['held', 'released', 'rejected'];
const LARGEST_PAGE = 200;

/** What the desk does with an object; `reason` goes to the audit trail. */
export type Act =
  | { kind: 'release'; reason: string }
  | { kind: 'reject'; reason: string }
  | { kind: 'propose'; reason: string; correction: Correction };

/** A finding's sentence in the language of the page. */
export function said(finding: Finding): string {
  return language.value === 'zh-CN' ? finding.text_zh : finding.text_en;
}

const same = (one: readonly string[], other: readonly string[]) => [...one].sort().join() === [...other].sort().join();

const PERSON = ['patient_id', 'issuer', 'patient_name', 'birth_date', 'sex'] as const;

/**
 * Say whether what is decided of `entry` may be decided of `other` in one go: same study, findings and person, and the same
 * correction proposed or none. A second person approves what was seen, never another correction.
 */
export function alike(entry: Held, other: Held): boolean {
  return (
    other.id !== entry.id &&
    other.state === 'held' &&
    other.study_uid === entry.study_uid &&
    same(other.reasons, entry.reasons) &&
    other.proposed_by === entry.proposed_by &&
    other.proposal_digest === entry.proposal_digest &&
    PERSON.every((name) => other.identity[name] === entry.identity[name])
  );
}

/** Read all held objects of the entry's study that are its like. */
export async function othersOf(entry: Held, signal: AbortSignal): Promise<Held[]> {
  const found: Held[] = [];
  let cursor: string | null = '';
  while (cursor !== null) {
    const asked = { state: 'held', study_uid: entry.study_uid, limit: LARGEST_PAGE, cursor };
    const page: Page<Held> = await api.get<Page<Held>>(withQuery(DESK, asked), { signal });
    found.push(...page.items.filter((other) => alike(entry, other)));
    cursor = page.next_cursor;
  }
  return found;
}

/** Do one act on one object, as it was when it was read. */
export async function perform(entry: Held, act: Act): Promise<void> {
  const seen = { version: entry.version, reason: act.reason };
  switch (act.kind) {
    case 'propose':
      await api.post(`${DESK}/${entry.id}/identity`, { ...seen, ...act.correction });
      return;
    case 'release':
    case 'reject':
      await api.post(`${DESK}/${entry.id}/${act.kind}`, seen, { timeout_s: 120 });
      return;
  }
}

export async function withdraw(entry: Held): Promise<void> {
  await api.delete(withQuery(`${DESK}/${entry.id}/identity`, { version: entry.version }));
}
