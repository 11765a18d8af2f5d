/** Run something the user asked for: busy while it runs, the problem when it fails. */
import { useState } from 'react';
import { asProblem, type Problem } from './problem';

export interface Action {
  busy: boolean;
  problem: Problem | null;
  /** Run the work; false when it failed (the problem is then set) or another one is running. */
  run: (work: () => Promise<void>) => Promise<boolean>;
  clear: () => void;
}

export function useAction(): Action {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const run = async (work: () => Promise<void>): Promise<boolean> => {
    if (busy) return false;
    setBusy(true);
    setProblem(null);
    try {
      await work();
      return true;
    } catch (error) {
      setProblem(asProblem(error));
      return false;
    } finally {
      setBusy(false);
    }
  };
  return { busy, problem, run, clear: () => setProblem(null) };
}
