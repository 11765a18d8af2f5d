/** Run an act of the person; when it is refused, say why. */
import { notify } from '@/kit';
import { ApiError } from '@/lib/problem';
import { r } from './words';

export function attempt(act: Promise<unknown>): void {
  act.catch((error: unknown) => notify(r('action_failed', { reason: reasonOf(error) }), 'bad'));
}

export function reasonOf(error: unknown): string {
  if (error instanceof ApiError || error instanceof Error) return error.message;
  return String(error);
}
