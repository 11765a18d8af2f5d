/** A list with a cursor: the first page kept fresh, the next ones on demand, shown as one list without repeats. */
import { useCallback, useEffect, useMemo, useRef, useState } from 'react';
import type { Page } from '@/protocol/types';
import { api, withQuery } from './api';
import { asProblem, type Problem } from './problem';
import { useResource, type Freshness } from './resource';

const TYPING_PAUSE_MS = 200;

/** A value that follows another once that has been still for a moment. */
export function useSettled<T>(value: T): T {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), TYPING_PAUSE_MS);
    return () => clearTimeout(timer);
  }, [value]);
  return settled;
}

interface NextPages<T> {
  key: string;
  items: T[];
  cursor: string | null;
}

export interface Pages<T> {
  items: T[] | null; // null: nothing to show yet
  busy: boolean;
  problem: Problem | null;
  staleSince: number | null; // set when the list shown is older than the problem
  more: (() => void) | null;
  loadingMore: boolean;
  reload: () => void;
}

/** Join pages; a list may shift while it is read, so an id counts once. */
export function joinPages<T>(first: readonly T[], rest: readonly T[], id: (item: T) => string): T[] {
  const seen = new Set<string>();
  return [...first, ...rest].filter((item) => !seen.has(id(item)) && seen.add(id(item)));
}

/** Read a list. `query` without what is empty makes the address; a change starts over. */
export function usePages<T>(
  path: string,
  query: Record<string, string | null>,
  id: (item: T) => string,
  fresh?: Freshness,
): Pages<T> {
  const key = withQuery(path, query);
  const { resource, value, reload } = useResource(key, (signal) => api.get<Page<T>>(key, { signal }), fresh);
  const [next, setNext] = useState<NextPages<T> | null>(null);
  const [loadingMore, setLoadingMore] = useState(false);
  const [moreProblem, setMoreProblem] = useState<Problem | null>(null);
  const running = useRef(false);

  const pages = next?.key === key ? next : null;
  const cursor = pages ? pages.cursor : (value?.next_cursor ?? null);

  const loadMore = useCallback(() => {
    if (cursor === null || running.current) return;
    running.current = true;
    setLoadingMore(true);
    setMoreProblem(null);
    api
      .get<Page<T>>(withQuery(key, { cursor }))
      .then((page) => setNext({ key, items: [...(pages?.items ?? []), ...page.items], cursor: page.next_cursor }))
      .catch((error: unknown) => setMoreProblem(asProblem(error)))
      .finally(() => {
        running.current = false;
        setLoadingMore(false);
      });
  }, [cursor, key, pages]);

  const items = useMemo(() => (value ? joinPages(value.items, pages?.items ?? [], id) : null), [value, pages]);
  const failed = resource.kind === 'failed' ? resource : null;
  return {
    items,
    busy: resource.kind === 'loading',
    problem: failed?.problem ?? moreProblem,
    staleSince: failed?.stale?.at ?? null,
    more: cursor !== null && !moreProblem && !failed && resource.kind === 'ready' ? loadMore : null,
    loadingMore,
    reload: () => {
      setMoreProblem(null);
      reload();
    },
  };
}
