/** Keys of one page that go before the shell's own (its `?`, for one), but not into its sequences: after `g`, the key is the shell's. */
import { useEffect } from 'react';
import { inSequence, isTyping, type KeyMap } from './keys';

export function usePageKeys(keys: KeyMap): void {
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
      if (inSequence(event)) return;
      // A focused button takes Enter and space for itself.
      const onButton = event.target instanceof HTMLElement && event.target.closest('button, a, summary') !== null;
      if (onButton && (event.key === ' ' || event.key === 'Enter')) return;
      const action = keys[event.key];
      if (!action) return;
      event.preventDefault();
      action(event);
    };
    addEventListener('keydown', onKey, true);
    return () => removeEventListener('keydown', onKey, true);
  }, [keys]);
}
