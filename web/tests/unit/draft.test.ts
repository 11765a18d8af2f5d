import { describe, expect, it } from 'vitest';
import { mergeSections, openDraft, step, type Draft, type DraftEvent } from '@/features/report/draft';
import type { Report } from '@/protocol/types';

const text = (findings: string, impression = '', recommendation = '') => ({ findings, impression, recommendation });
const report = (version: number, sections = text('a')): Report => ({
  id: 'r1',
  consultation_id: 'c1',
  patient: { id: 'p1', patient_id: 'X', name: { family: 'Lin', given: 'X' } },
  state: 'drafting',
  version,
  etag: `"${version}"`,
  sections,
  language: 'en',
  author: null,
  key_images: [],
});
const run = (...events: DraftEvent[]): Draft => events.reduce(step, openDraft(report(1)));
const edit = (value: string): DraftEvent => ({ type: 'edit', section: 'findings', text: value });

describe('a draft', () => {
  it('is clean again when an edit is taken back', () => {
    expect(run(edit('b')).kind).toBe('dirty');
    expect(run(edit('b'), edit('a')).kind).toBe('clean');
  });

  it('stays dirty when typing went on while it was saved', () => {
    const draft = run(edit('b'), { type: 'send' }, edit('bc'), { type: 'saved', report: report(2, text('b')) });
    expect(draft).toMatchObject({ kind: 'dirty', text: { findings: 'bc' }, saved: { version: 2 } });
  });

  it('keeps the text when a save fails', () => {
    expect(run(edit('b'), { type: 'send' }, { type: 'failed', problem: { kind: 'offline' } })).toMatchObject({
      kind: 'dirty',
      text: { findings: 'b' },
      problem: { kind: 'offline' },
    });
  });

  it('takes what others saved while nothing is being written', () => {
    expect(run({ type: 'arrived', report: report(2, text('theirs')) })).toMatchObject({
      kind: 'clean',
      text: { findings: 'theirs' },
    });
  });

  it('ignores an older answer that arrives late', () => {
    const draft = run(
      { type: 'arrived', report: report(3, text('three')) },
      { type: 'arrived', report: report(2, text('two')) },
    );
    expect(draft.text.findings).toBe('three');
  });

  it('merges by itself when different sections were changed', () => {
    const draft = run(edit('mine'), { type: 'send' }, { type: 'conflict', theirs: report(2, text('a', 'theirs')) });
    expect(draft).toMatchObject({
      kind: 'dirty',
      text: { findings: 'mine', impression: 'theirs' },
      saved: { etag: '"2"' },
    });
  });

  it('asks when both changed the same section, and saves the choice on top of theirs', () => {
    const asked = run(edit('mine'), { type: 'send' }, { type: 'conflict', theirs: report(2, text('theirs')) });
    expect(asked).toMatchObject({
      kind: 'conflict',
      text: { findings: 'mine' },
      theirs: { sections: { findings: 'theirs' } },
    });
    const solved = step(asked, { type: 'resolved', text: text('theirs mine') });
    expect(solved).toMatchObject({ kind: 'dirty', text: { findings: 'theirs mine' }, saved: { etag: '"2"' } });
  });
});

it('merges nothing away: each section holds mine, theirs, or waits for a choice', () => {
  const base = text('f', 'i', 'r');
  const merged = mergeSections(base, text('f2', 'i2', 'r'), text('f', 'i3', 'r3'));
  expect(merged).toEqual({ text: text('f2', 'i3', 'r3'), open: ['impression'] });
});
