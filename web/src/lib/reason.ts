/** Why something failed, as one sentence in the reader's language. */
import { ApiError } from './problem';
import { sentence } from './problemWords';

export function reasonOf(error: unknown): string {
  if (error instanceof ApiError && 'problem' in error.problem) return sentence(error.problem.problem);
  return error instanceof Error ? error.message : String(error);
}
