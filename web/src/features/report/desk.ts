/**
 * The reports being written in this tab. A desk outlives its page: it holds the draft and the reviewer's reason in memory
 * (never in the browser's storage: a report is patient data), goes on saving it two seconds after the last key and when
 * the network is back, and hands it to the page when that is opened again. It belongs to the person who wrote it: another
 * person on the same tab neither sees nor saves it. Who reads a desk calls `openDesk`; it goes once it is clean and closed.
 */
import { effect, signal, untracked, type Signal } from '@preact/signals';
import { api } from '@/lib/api';
import { user } from '@/lib/auth';
import { ApiError, asProblem, type Problem } from '@/lib/problem';
import { may } from '@/lib/roles';
import { onDropUnsaved, reportName, setUnsaved } from '@/lib/unsaved';
import type { Report } from '@/protocol/types';
import { openDraft, step, type Draft, type DraftEvent } from './draft';

const AUTOSAVE_MS = 2_000;
const RETRY_MS = 10_000;

export function reportPath(id: string, rest = ''): string {
  return `/api/v1/reports/${encodeURIComponent(id)}${rest}`;
}

/** Whether the person signed in writes in this report now: the author drafts, the reviewer edits in place. */
export function mayWrite(report: Report): boolean {
  const me = user.value?.id;
  switch (report.state) {
    case 'drafting':
    case 'returned':
      return may('report.draft') && (report.author === null || report.author.id === me);
    case 'in_review':
      return may('report.review') && report.reviewer?.id === me;
    case 'submitted':
    case 'signed':
    case 'retracted':
      return false;
  }
}

/** Whether trying again later can help without the person doing something. */
export function passes(problem: Problem): boolean {
  return (
    problem.kind === 'offline' || problem.kind === 'timeout' || problem.kind === 'busy' || problem.kind === 'server'
  );
}

const isLostRace = (error: unknown) =>
  error instanceof ApiError && error.problem.kind === 'conflict' && error.problem.problem.status === 412;

export class Desk {
  readonly draft: Signal<Draft>;
  /** Why a reviewer changes the text; nothing is saved in review without it. */
  readonly reason = signal('');
  private open = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private running: Promise<boolean> | null = null;

  constructor(
    readonly owner: string,
    report: Report,
  ) {
    this.draft = signal(openDraft(report));
  }

  get name(): string {
    return reportName(this.owner, this.draft.peek().saved.id);
  }

  /** Whether the text waits for the reviewer's reason. */
  held(): boolean {
    return this.draft.value.saved.state === 'in_review' && this.reason.value.trim() === '';
  }

  send(event: DraftEvent): void {
    this.draft.value = step(this.draft.peek(), event);
    this.changed();
  }

  setReason(reason: string): void {
    this.reason.value = reason;
    this.changed();
  }

  /** Save now; true when there is nothing left to save. */
  flush(): Promise<boolean> {
    this.running ??= this.saveOnce().finally(() => {
      this.running = null;
    });
    return this.running;
  }

  /** Save now what is not saved; the saved report, or null when it could not be saved. */
  async settle(): Promise<Report | null> {
    for (let tries = 0; tries < 3; tries++) {
      await this.flush();
      const now = this.draft.peek();
      if (now.kind === 'clean') return now.saved;
      if (now.kind === 'conflict' || (now.kind === 'dirty' && now.problem)) return null;
    }
    return null;
  }

  enter(): void {
    this.open += 1;
    this.changed();
  }

  /** The page has gone: send at once what was typed; true when nothing is left here. */
  async leave(): Promise<boolean> {
    this.open -= 1;
    const done = await this.settle();
    this.changed();
    return done !== null;
  }

  /** Throw the draft away: what the server has stands. */
  discard(): void {
    this.reason.value = '';
    this.draft.value = openDraft(this.draft.peek().saved);
    this.changed();
  }

  /** Plan the next save, and tell the tab whether something is unsaved. */
  changed(): void {
    clearTimeout(this.timer);
    const draft = this.draft.peek();
    setUnsaved(this.name, this.owner, draft.kind !== 'clean');
    if (draft.kind === 'clean' && this.open === 0) desks.delete(this.name);
    if (draft.kind !== 'dirty' || !this.maySave()) return;
    if (draft.problem && !passes(draft.problem)) return;
    this.timer = setTimeout(() => void this.flush(), draft.problem ? RETRY_MS : AUTOSAVE_MS);
  }

  private maySave(): boolean {
    return user.peek()?.id === this.owner && mayWrite(this.draft.peek().saved) && !untracked(() => this.held());
  }

  private async saveOnce(): Promise<boolean> {
    const now = this.draft.peek();
    if (now.kind !== 'dirty' || !this.maySave()) return now.kind === 'clean';
    this.send({ type: 'send' });
    const path = reportPath(now.saved.id);
    const reason = now.saved.state === 'in_review' ? this.reason.peek().trim() : '';
    const body = { sections: now.text, key_images: now.images, language: now.saved.language, reason };
    try {
      const { value } = await api.putTagged<Report>(path, body, now.saved.etag);
      this.send({ type: 'saved', report: value });
    } catch (error) {
      const theirs = isLostRace(error) ? await api.get<Report>(path).catch(() => null) : null;
      this.send(theirs ? { type: 'conflict', theirs } : { type: 'failed', problem: asProblem(error) });
    }
    return this.draft.peek().kind === 'clean';
  }
}

const desks = new Map<string, Desk>();

/** The desk of the person signed in for this report: the one left behind, else a new one. */
export function openDesk(report: Report): Desk {
  const owner = user.peek()?.id ?? '';
  const name = reportName(owner, report.id);
  const desk = desks.get(name) ?? new Desk(owner, report);
  desks.set(name, desk);
  return desk;
}

/** The report that the person signed in left unsaved in this tab, as it was last read; its page can open without the server. */
export function leftReport(id: string): Report | null {
  return desks.get(reportName(user.value?.id ?? '', id))?.draft.peek().saved ?? null;
}

effect(() => {
  if (user.value) for (const desk of desks.values()) desk.changed(); // signed in again: saving goes on
});
globalThis.addEventListener?.('online', () => {
  for (const desk of desks.values()) void desk.flush();
});
onDropUnsaved((owner) => {
  for (const desk of [...desks.values()]) if (desk.owner === owner) desk.discard();
});
