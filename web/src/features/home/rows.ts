/** Rows that the keys j and k walk over: every link marked `data-row`, in reading order. Enter follows the link. */
import { useEffect, useRef } from 'react';
import type { Study } from '@/protocol/types';

/** Focus the next (1) or previous (-1) row under `root`. */
export function moveRow(root: HTMLElement | null, step: 1 | -1): void {
  const rows = [...(root?.querySelectorAll<HTMLElement>('[data-row]') ?? [])].filter(
    (row) => row.offsetParent !== null,
  );
  const at = rows.findIndex((row) => row === document.activeElement);
  const next = rows[at === -1 ? 0 : Math.min(Math.max(at + step, 0), rows.length - 1)];
  next?.focus();
  next?.scrollIntoView({ block: 'nearest' });
}

const studies = new WeakMap<Element, Study>();

/** Remember which study a row's element stands for. */
export function rememberStudy(element: Element | null, study: Study): void {
  if (element) studies.set(element, study);
}

/** The study of the focused row, if a study's row has the focus. */
export function focusedStudy(): Study | null {
  return (document.activeElement && studies.get(document.activeElement)) ?? null;
}

/** Call `reload` whenever the turn number grows. */
export function useReloadTurn(turn: number, reload: () => void): void {
  const seen = useRef(turn);
  useEffect(() => {
    if (turn === seen.current) return;
    seen.current = turn;
    reload();
  }, [turn, reload]);
}
