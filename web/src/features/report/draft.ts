/**
 * The text being written and how it stands with the server: pure, so that nothing can be lost by accident.
 *
 * `clean` -> edit -> `dirty` -> save -> `saving` -> saved -> `clean` (or `dirty` again when typing went on).
 * A save that lost a race becomes `conflict`: it holds what was read first (base), theirs and mine; sections that only
 * one side changed are merged, the others wait for a choice. Key images are added and taken away one by one, so two
 * people's changes always fit together.
 */
import { imageId } from '@/lib/keyImages';
import type { Problem } from '@/lib/problem';
import type { KeyImage, Report, ReportSections } from '@/protocol/types';

export type SectionName = keyof ReportSections;
export const SECTIONS: readonly SectionName[] = ['findings', 'impression', 'recommendation'];

/** What one side has: the text and the key images. */
interface Content {
  text: ReportSections;
  images: readonly KeyImage[];
}

export type Draft = Content & { saved: Report } & (
    | { kind: 'clean' }
    | { kind: 'dirty'; problem: Problem | null }
    | { kind: 'saving'; sent: ReportSections }
    | { kind: 'conflict'; theirs: Report }
  );

export type DraftEvent =
  | { type: 'edit'; section: SectionName; text: string }
  | { type: 'images'; images: readonly KeyImage[] }
  | { type: 'send' }
  | { type: 'saved'; report: Report }
  | { type: 'failed'; problem: Problem }
  | { type: 'conflict'; theirs: Report }
  | { type: 'arrived'; report: Report } // the server's present state, after an event or an action
  | { type: 'resolved'; text: ReportSections };

export function sameText(a: ReportSections, b: ReportSections): boolean {
  return SECTIONS.every((name) => a[name] === b[name]);
}

export function sameImages(a: readonly KeyImage[], b: readonly KeyImage[]): boolean {
  return a.map(imageId).join() === b.map(imageId).join();
}

export function openDraft(report: Report): Draft {
  return { kind: 'clean', saved: report, text: report.sections, images: report.key_images };
}

function settle(saved: Report, { text, images }: Content, problem: Problem | null = null): Draft {
  return sameText(saved.sections, text) && sameImages(saved.key_images, images)
    ? openDraft(saved)
    : { kind: 'dirty', saved, text, images, problem };
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

/** Theirs, without what I took away, with what I added. */
export function mergeImages(
  base: readonly KeyImage[],
  theirs: readonly KeyImage[],
  mine: readonly KeyImage[],
): KeyImage[] {
  const ids = (images: readonly KeyImage[]) => new Set(images.map(imageId));
  const [before, there, here] = [ids(base), ids(theirs), ids(mine)];
  return [
    ...theirs.filter((image) => here.has(imageId(image)) || !before.has(imageId(image))),
    ...mine.filter((image) => !before.has(imageId(image)) && !there.has(imageId(image))),
  ];
}

function meet(draft: Draft, theirs: Report): Draft {
  const { text, open } = mergeSections(draft.saved.sections, theirs.sections, draft.text);
  const images = mergeImages(draft.saved.key_images, theirs.key_images, draft.images);
  return open.length === 0
    ? settle(theirs, { text, images })
    : { kind: 'conflict', saved: draft.saved, text: draft.text, images: draft.images, theirs };
}

export function step(draft: Draft, event: DraftEvent): Draft {
  switch (event.type) {
    case 'edit':
      return change(draft, { text: { ...draft.text, [event.section]: event.text }, images: draft.images });
    case 'images':
      return change(draft, { text: draft.text, images: event.images });
    case 'send':
      return draft.kind === 'dirty'
        ? { kind: 'saving', saved: draft.saved, text: draft.text, images: draft.images, sent: draft.text }
        : draft;
    case 'saved':
      return settle(event.report, draft);
    case 'failed':
      return draft.kind === 'saving'
        ? { kind: 'dirty', saved: draft.saved, text: draft.text, images: draft.images, problem: event.problem }
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
      return draft.kind === 'conflict'
        ? settle(draft.theirs, {
            text: event.text,
            images: mergeImages(draft.saved.key_images, draft.theirs.key_images, draft.images),
          })
        : draft;
  }
}

function change(draft: Draft, content: Content): Draft {
  return draft.kind === 'saving' || draft.kind === 'conflict'
    ? { ...draft, ...content }
    : settle(draft.saved, content, null);
}
