/** The order of work: what is over is left out, overdue first, then by urgency and the time it is due. */
import type { Consultation, Urgency } from '@/protocol/types';

const OVER = new Set(['closed', 'cancelled', 'rejected', 'completed']);
const RANK: Record<Urgency, number> = { stat: 0, urgent: 1, routine: 2 };

export function openWork(list: readonly Consultation[], now: number): Consultation[] {
  const late = (work: Consultation) => (work.due_at && new Date(work.due_at).getTime() < now ? 0 : 1);
  return list
    .filter((work) => !OVER.has(work.state))
    .sort(
      (a, b) =>
        late(a) - late(b) || RANK[a.urgency] - RANK[b.urgency] || (a.due_at ?? '~').localeCompare(b.due_at ?? '~'),
    );
}
