/**
 * The text being written and how it stands with the server: pure, so that nothing can be lost by accident.
 *
 * `clean` -> edit -> `dirty` -> save -> `saving` -> saved -> `clean` (or `dirty` again when typing went on).
 * A save that lost a race becomes `conflict`: it holds what was read first (base), theirs and mine; sections that only
 * one side changed are merged, the others wait for a choice.
 */
import type { Problem } from '@/lib/problem';
import type { Report, ReportSections } from '@/protocol/types';

export type SectionName = keyof ReportSections;
export const SECTIONS: readonly SectionName[] = ['findings', 'impression', 'recommendation'];

export type Draft =
  | { kind: 'clean'; saved: Report; text: ReportSections }
  | { kind: 'dirty'; saved: Report; text: ReportSections; problem: Problem | null }
  | { kind: 'saving'; saved: Report; text: ReportSections; sent: ReportSections }
  | { kind: 'conflict'; saved: Report; text: ReportSections; theirs: Report };

export type DraftEvent =
  | { type: 'edit'; section: SectionName; text: string }
  | { type: 'send' }
  | { type: 'saved'; report: Report }
  | { type: 'failed'; problem: Problem }
  | { type: 'conflict'; theirs: Report }
  | { type: 'arrived'; report: Report } // the server's present state, after an event or an action
  | { type: 'resolved'; text: ReportSections };

export function sameText(a: ReportSections, b: ReportSections): boolean {
  return SECTIONS.every((name) => a[name] === b[name]);
}

export function openDraft(report: Report): Draft {
  return { kind: 'clean', saved: report, text: report.sections };
}

function settle(saved: Report, text: ReportSections, problem: Problem | null = null): Draft {
  return sameText(saved.sections, text) ? { kind: 'clean', saved, text } : { kind: 'dirty', saved, text, problem };
}

/** Merge section by section: a section that only one side changed takes that side; both changed: mine, to be chosen. */
export function mergeSections(
  base: ReportSections,
  theirs: ReportSections,
  mine: ReportSections,
): { text: ReportSections; open: SectionName[] } {
  const text = { ...mine };
  const open: SectionName[] = [];
  for (const name of SECTIONS) {
    if (mine[name] === base[name] || mine[name] === theirs[name]) text[name] = theirs[name];
    else if (theirs[name] !== base[name]) open.push(name);
  }
  return { text, open };
}

function meet(draft: Draft, theirs: Report): Draft {
  const { text, open } = mergeSections(draft.saved.sections, theirs.sections, draft.text);
  return open.length === 0 ? settle(theirs, text) : { kind: 'conflict', saved: draft.saved, text: draft.text, theirs };
}

export function step(draft: Draft, event: DraftEvent): Draft {
  switch (event.type) {
    case 'edit': {
      const text = { ...draft.text, [event.section]: event.text };
      return draft.kind === 'saving' || draft.kind === 'conflict' ? { ...draft, text } : settle(draft.saved, text);
    }
    case 'send':
      return draft.kind === 'dirty'
        ? { kind: 'saving', saved: draft.saved, text: draft.text, sent: draft.text }
        : draft;
    case 'saved':
      return settle(event.report, draft.text);
    case 'failed':
      return draft.kind === 'saving'
        ? { kind: 'dirty', saved: draft.saved, text: draft.text, problem: event.problem }
        : draft;
    case 'conflict':
      return meet(draft, event.theirs);
    case 'arrived':
      if (event.report.version < draft.saved.version || draft.kind === 'saving') return draft;
      if (draft.kind === 'clean') return openDraft(event.report);
      return event.report.version === draft.saved.version
        ? { ...draft, saved: event.report }
        : meet(draft, event.report);
    case 'resolved':
      return draft.kind === 'conflict' ? settle(draft.theirs, event.text) : draft;
  }
}
