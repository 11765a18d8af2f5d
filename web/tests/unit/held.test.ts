import { describe, expect, it } from 'vitest';
import { alike, type Held } from '@/features/quarantine/held';
import { isWord, why } from '@/features/quarantine/words';

const entry: Held = {
  id: 'a',
  state: 'held',
  version: 1,
  held_at: '2026-01-01T00:00:00Z',
  reasons: ['identity-differs', 'charset-unsafe'],
  study_uid: '1.2',
  series_uid: '1.2.1',
  sop_instance_uid: '1.2.1.1',
  sop_class_uid: '1.2.840.10008.5.1.4.1.1.6.1',
  modality: 'US',
  size_bytes: 1,
  origin: {},
  identity: { patient_id: 'P1', patient_name: 'A' },
  proposed_by: null,
  proposal_digest: null,
  decided_by: null,
  decided_at: null,
  reason: null,
};

describe('what is decided in one go', () => {
  it('is of one study, with the same findings and the same person', () => {
    expect(alike(entry, { ...entry, id: 'b', reasons: ['charset-unsafe', 'identity-differs'] })).toBe(true);
    expect(alike(entry, entry)).toBe(false);
    const others: Partial<Held>[] = [
      { study_uid: '1.3' },
      { state: 'released' },
      { reasons: ['identity-differs'] },
      { identity: { patient_id: 'P2', patient_name: 'A' } },
      { identity: { patient_id: 'P1', patient_name: 'B' } },
      { identity: { patient_id: 'P1', patient_name: 'A', birth_date: '19500101' } },
      { proposed_by: 'somebody' },
      { proposal_digest: 'another' },
    ];
    for (const other of others) expect(alike(entry, { ...entry, id: 'b', ...other })).toBe(false);
  });
});

describe('reasons in words', () => {
  it('leave a code without words as it is', () => {
    expect(why('identity-differs')).not.toBe('identity-differs');
    expect(why('burned-in-annotation')).toBe('burned-in-annotation');
    expect(isWord('toString')).toBe(false);
  });
});
