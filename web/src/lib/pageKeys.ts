/** Keys of one page that go before the shell's own (its `?`, for one): bound in the capture phase. */
import { useEffect } from 'react';
import { isTyping, type KeyMap } from './keys';

export function usePageKeys(keys: KeyMap): void {
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
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
