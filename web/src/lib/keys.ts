/** Keyboard: single keys and `g` sequences, never while somebody types. */
import { useEffect } from 'react';

export type KeyMap = Record<string, (event: KeyboardEvent) => void>;
const SEQUENCE_MS = 1200;

/** Say whether a key press belongs to a text field or an open dialog rather than to the page. */
export function isTyping(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLElement &&
    target.closest('input, textarea, select, [contenteditable="true"], dialog') !== null
  );
}

/** The first key of a sequence that has begun, for every binder on the page: `g r` must not also press `r`. */
let begun: { key: string; at: number } | null = null;

/** Say whether a press may be the second key of a sequence: a page's own keys then leave it to the shell. */
export function inSequence(event: KeyboardEvent): boolean {
  const age = begun ? event.timeStamp - begun.at : 0;
  return age > 0 && age < SEQUENCE_MS;
}

/** Bind keys while the component is mounted: `"/"`, `"Enter"`, or a sequence like `"g h"`. */
export function useKeys(keys: KeyMap): void {
  useEffect(() => {
    const begins = (key: string) => Object.keys(keys).some((name) => name.startsWith(`${key} `));
    const onKey = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || isTyping(event.target)) return;
      const first = begun && inSequence(event) ? begun.key : null;
      const action = keys[first === null ? event.key : `${first} ${event.key}`];
      if (first === null && begins(event.key)) begun = { key: event.key, at: event.timeStamp };
      else if (first !== null && begins(first)) begun = null;
      if (!action) return;
      event.preventDefault();
      action(event);
    };
    addEventListener('keydown', onKey);
    return () => removeEventListener('keydown', onKey);
  }, [keys]);
}
