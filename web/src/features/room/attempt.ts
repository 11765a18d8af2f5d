/** Run an act of the person; when it is refused, say why. */
import { notify } from '@/kit';
import { reasonOf } from '@/lib/reason';
import { r } from './words';

export { reasonOf };

export function attempt(act: Promise<unknown>): void {
  act.catch((error: unknown) => notify(r('action_failed', { reason: reasonOf(error) }), 'bad'));
}
