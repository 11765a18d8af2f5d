/** The report on the desk: read it, save it two seconds after the last key, meet others' changes without losing words. */
import { useCallback, useEffect, useReducer, useRef } from 'react';
import { api } from '@/lib/api';
import { ApiError, asProblem } from '@/lib/problem';
import type { Report } from '@/protocol/types';
import { step, type Draft, type DraftEvent } from './draft';

const AUTOSAVE_MS = 2_000;
const RETRY_MS = 10_000;

export function reportPath(id: string, rest = ''): string {
  return `/api/v1/reports/${encodeURIComponent(id)}${rest}`;
}

const isLostRace = (error: unknown) =>
  error instanceof ApiError && error.problem.kind === 'conflict' && error.problem.problem.status === 412;

export interface Desk {
  draft: Draft;
  send: (event: DraftEvent) => void;
  /** Save now what is not saved; the saved report, or null when it could not be saved. */
  settle: () => Promise<Report | null>;
}

/** Keep a draft of `opened`. Nothing is saved while `held` (a reviewer has not yet said why). */
export function useReport(opened: Report, draftOf: (report: Report) => Draft, held: boolean, reason: string): Desk {
  const [draft, send] = useReducer(step, opened, draftOf);
  const latest = useRef({ draft, held, reason });
  latest.current = { draft, held, reason };
  const running = useRef<Promise<boolean> | null>(null);

  const saveOnce = useCallback(async (): Promise<boolean> => {
    const { draft: now, held: stopped, reason: why } = latest.current;
    if (now.kind === 'clean') return true;
    if (now.kind !== 'dirty' || stopped) return false;
    send({ type: 'send' });
    const path = reportPath(now.saved.id);
    const body = { sections: now.text, key_images: now.saved.key_images, language: now.saved.language, reason: why };
    try {
      const { value } = await api.putTagged<Report>(path, body, now.saved.etag);
      send({ type: 'saved', report: value });
      return true;
    } catch (error) {
      const theirs = isLostRace(error) ? await api.get<Report>(path).catch(() => null) : null;
      if (theirs) send({ type: 'conflict', theirs });
      else send({ type: 'failed', problem: asProblem(error) });
      return false;
    }
  }, []);

  const flush = useCallback((): Promise<boolean> => {
    running.current ??= saveOnce().finally(() => {
      running.current = null;
    });
    return running.current;
  }, [saveOnce]);

  const settle = useCallback(async (): Promise<Report | null> => {
    for (let tries = 0; tries < 3; tries++) {
      await flush();
      await new Promise((resolve) => setTimeout(resolve, 30)); // let the reducer's new state arrive
      const now = latest.current.draft;
      if (now.kind === 'clean') return now.saved;
      if (now.kind === 'conflict') return null;
    }
    return null;
  }, [flush]);

  const failed = draft.kind === 'dirty' && draft.problem !== null;
  useEffect(() => {
    if (draft.kind !== 'dirty' || held) return;
    const timer = setTimeout(() => void flush(), failed ? RETRY_MS : AUTOSAVE_MS);
    const now = () => void flush();
    addEventListener('online', now);
    return () => {
      clearTimeout(timer);
      removeEventListener('online', now);
    };
  }, [draft, held, reason, failed, flush]);

  useEffect(() => {
    if (draft.kind === 'clean') return;
    const stay = (event: BeforeUnloadEvent) => event.preventDefault();
    addEventListener('beforeunload', stay);
    return () => removeEventListener('beforeunload', stay);
  }, [draft.kind]);

  // Leaving the page inside the application: what was typed is sent at once.
  useEffect(() => () => void flush(), [flush]);

  return { draft, send, settle };
}
