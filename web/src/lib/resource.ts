/**
 * A thing fetched from the server and kept fresh: loading -> ready | failed, refetched on events and on demand.
 * A failure after a success keeps the last good value and its time, so that a screen can show it marked as old.
 * While a new key loads, the old key's value stays in `loading.stale`: a list being filtered does not flicker.
 */
import { computed, effect } from '@preact/signals';
import { useCallback, useEffect, useRef, useState } from 'react';
import type { EventName, ServerEvent } from '@/protocol/types';
import { user } from './auth';
import { listen } from './events';
import { asProblem, type Problem } from './problem';

export type Resource<T> =
  | { kind: 'loading'; stale: T | null }
  | { kind: 'ready'; value: T; at: number }
  | { kind: 'failed'; problem: Problem; stale: { value: T; at: number } | null };

export interface Fetched<T> {
  resource: Resource<T>;
  value: T | null; // the latest good value, old or new
  reload: () => void;
  set: (value: T) => void;
}

/** What an event has to be for the resource to be fetched again. */
export interface Freshness {
  on: readonly EventName[];
  subject?: string | undefined;
  /** Say that an event tells nothing new; asked when the refetch would start. */
  known?: ((event: ServerEvent) => boolean) | undefined;
  /** Keep the last good value beyond the page, so that it stands, marked as old, when the page is opened offline. */
  remember?: boolean | undefined;
}

interface Remembered {
  value: unknown;
  at: number;
}
const MOST_REMEMBERED = 20;
/** In memory, and of the person signed in only: lists name patients. */
const remembered = new Map<string, Remembered>();
const owner = computed(() => user.value?.id);
effect(() => {
  void owner.value; // another person, or nobody
  remembered.clear();
});

function remember(key: string, kept: Remembered): void {
  remembered.delete(key);
  remembered.set(key, kept);
  for (const oldest of [...remembered.keys()].slice(0, -MOST_REMEMBERED)) remembered.delete(oldest);
}

const SETTLE_MS = 150; // events come in bursts: one refetch per burst

/** Fetch when `key` changes (null: fetch nothing); the fetcher gets an AbortSignal. */
export function useResource<T>(
  key: string | null,
  fetcher: (signal: AbortSignal) => Promise<T>,
  fresh?: Freshness,
): Fetched<T> {
  const [resource, setResource] = useState<Resource<T>>({ kind: 'loading', stale: null });
  const [turn, setTurn] = useState(0);
  const last = useRef<{ key: string | null; value: T; at: number } | null>(null);
  const remembers = fresh?.remember ?? false;
  const latest = useRef(fetcher);
  latest.current = fetcher;

  useEffect(() => {
    if (key === null) return;
    if (last.current?.key !== key) {
      const kept = remembers ? remembered.get(key) : undefined;
      if (kept) last.current = { key, value: kept.value as T, at: kept.at };
      setResource({ kind: 'loading', stale: last.current?.value ?? null });
    }
    const stop = new AbortController();
    latest
      .current(stop.signal)
      .then((value) => {
        if (stop.signal.aborted) return;
        last.current = { key, value, at: Date.now() };
        if (remembers) remember(key, { value, at: last.current.at });
        setResource({ kind: 'ready', value, at: last.current.at });
      })
      .catch((error: unknown) => {
        if (stop.signal.aborted) return;
        const stale = last.current?.key === key ? last.current : null; // another filter's list is no stand-in
        setResource({ kind: 'failed', problem: asProblem(error), stale });
      });
    return () => stop.abort();
  }, [key, turn]);

  const reload = useCallback(() => setTurn((n) => n + 1), []);
  const set = useCallback(
    (value: T) => {
      last.current = { key, value, at: Date.now() };
      setResource({ kind: 'ready', value, at: last.current.at });
    },
    [key],
  );

  const known = useRef(fresh?.known);
  known.current = fresh?.known;
  const wanted = fresh ? `${fresh.on.join()}|${fresh.subject ?? ''}` : '';
  useEffect(() => {
    if (wanted === '' || key === null) return;
    const [names = '', subject = ''] = wanted.split('|');
    let timer: ReturnType<typeof setTimeout> | undefined;
    const stopListening = listen((event: ServerEvent | null) => {
      const mine =
        event === null || (names.split(',').includes(event.type) && (subject === '' || event.subject === subject));
      if (!mine) return;
      clearTimeout(timer);
      timer = setTimeout(() => {
        if (event === null || !known.current?.(event)) reload();
      }, SETTLE_MS);
    });
    return () => {
      clearTimeout(timer);
      stopListening();
    };
  }, [wanted, key, reload]);

  return { resource, value: latestValue(resource), reload, set };
}

/** The value to show: the present one, or the last good one while loading or after a failure. */
export function latestValue<T>(resource: Resource<T>): T | null {
  switch (resource.kind) {
    case 'ready':
      return resource.value;
    case 'loading':
      return resource.stale;
    case 'failed':
      return resource.stale?.value ?? null;
  }
}
