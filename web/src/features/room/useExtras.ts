/** Loads the parts around the picture; tries again when the network failed. */
import { useEffect, useState } from 'react';
import type * as Extras from './extras';

const RETRY_MS = 2_000;

export function useExtras(): typeof Extras | null {
  const [extras, setExtras] = useState<typeof Extras | null>(null);
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    let gone = false;
    const load = () => {
      import('./extras').then(
        (loaded) => !gone && setExtras(loaded),
        () => {
          if (!gone) timer = setTimeout(load, RETRY_MS);
        },
      );
    };
    load();
    return () => {
      gone = true;
      clearTimeout(timer);
    };
  }, []);
  return extras;
}
