/** The imaging worklist for a filter, as the screen writes it. */
import { usePages, useSettled, type Pages } from '@/lib/pages';
import type { Study } from '@/protocol/types';

export type Span = 'any' | 'today' | 'week' | 'month';

export interface StudyFilter {
  q: string;
  modality: string;
  span: Span;
}

export const MODALITIES = ['US', 'ES', 'CT', 'MR', 'DX', 'CR', 'XA', 'RF', 'MG', 'NM', 'PT', 'SM', 'GM', 'XC'] as const;

const DAYS: Record<Exclude<Span, 'any'>, number> = { today: 0, week: 7, month: 30 };

/** The first day of a span as `YYYY-MM-DD` in local time. */
export function firstDay(span: Span, today = new Date()): string | null {
  if (span === 'any') return null;
  const day = new Date(today.getFullYear(), today.getMonth(), today.getDate() - DAYS[span]);
  const two = (n: number) => String(n).padStart(2, '0');
  return `${day.getFullYear()}-${two(day.getMonth() + 1)}-${two(day.getDate())}`;
}

export function useStudies(filter: StudyFilter): Pages<Study> {
  const settled = useSettled(filter);
  const query = { q: settled.q.trim(), modality: settled.modality, date_from: firstDay(settled.span) };
  const pages = usePages<Study>('/api/v1/imaging/worklist', query, (study) => study.study_uid, {
    on: ['instance.stored'],
    remember: true,
  });
  return { ...pages, busy: pages.busy || settled !== filter };
}
