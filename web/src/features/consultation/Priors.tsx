/** The priors that were fetched for a consultation before anybody opens them: which, why, and how far that is. */
import { useEffect, useRef } from 'react';
import { Link } from 'wouter';
import { Chip, ProblemNotice, type Tone } from '@/kit';
import { api } from '@/lib/api';
import { language } from '@/lib/i18n';
import { useNow } from '@/lib/now';
import type { Problem } from '@/lib/problem';
import { latestValue, useResource } from '@/lib/resource';
import { bytes } from '@/lib/units';
import { calendarDate, distance } from '@/lib/when';
import type { components } from '@/protocol/openapi';
import { p } from './words';

type Page = components['schemas']['PriorPage'];
type Prior = components['schemas']['PriorStudy'];

// No event tells of it: it is asked while something is on its way, after longer and longer pauses.
const FIRST_MS = 5000;
const MOST_MS = 60_000;
const FAILED_MS = 300_000; // as often as it is tried again
const BOOKED_WITHIN = 3; // times that it is asked again whether priors have been chosen

function growing(turn: number): number {
  return Math.min(FIRST_MS * 1.5 ** turn, MOST_MS);
}

/** Return after how long a page is worth being asked for again; null: nothing changes by itself. */
function pauseAfter(page: Page, turn: number): number | null {
  if (page.consultation_id === null) return turn < BOOKED_WITHIN ? growing(turn) : null;
  const pauses = page.fetching ? page.items.map((prior) => pauseOf(prior, turn)) : [];
  const least = Math.min(...pauses);
  return Number.isFinite(least) ? least : null;
}

function pauseOf(prior: Prior, turn: number): number {
  switch (prior.state) {
    case 'hot':
      return Number.POSITIVE_INFINITY;
    case 'failed':
      return FAILED_MS;
    case 'waiting':
    case 'partly':
      return prior.again_at ? Math.max(Date.parse(prior.again_at) - Date.now(), MOST_MS) : growing(turn);
  }
}

/** Tell whether asking again may help by itself. */
function mayPass(problem: Problem): boolean {
  return ['offline', 'timeout', 'busy', 'server'].includes(problem.kind);
}

function State({ prior, isFetched }: { prior: Prior; isFetched: boolean }) {
  const [tone, word] = stateOf(prior, isFetched);
  return (
    <Chip tone={tone} dot>
      {word}
    </Chip>
  );
}

function stateOf(prior: Prior, isFetched: boolean): [Tone, string] {
  if (!isFetched && prior.state !== 'hot') return ['neutral', p('not_kept')];
  if (prior.problem === 'original-archived') return ['neutral', p('archived')];
  switch (prior.state) {
    case 'hot':
      return ['ok', p('hot')];
    case 'partly':
      return ['info', p('partly', { percent: Math.floor((100 * prior.hot_bytes) / Math.max(1, prior.size_bytes)) })];
    case 'waiting':
      return ['info', p('waiting')];
    case 'failed':
      return ['warn', p('failed')];
  }
}

/** What somebody who wonders about the state should know. */
function hintOf(prior: Prior, isFetched: boolean): string | null {
  if (!isFetched && prior.state !== 'hot')
    return p(prior.problem === 'original-archived' ? 'archived_left_text' : 'not_kept_text');
  if (!prior.problem) return null;
  if (prior.problem === 'original-archived') return p('archived_text');
  return prior.problem === 'hot-tier-full' ? p('full') : p('trouble');
}

function Row({ prior, isFetched, now }: { prior: Prior; isFetched: boolean; now: number }) {
  const hint = hintOf(prior, isFetched);
  const reason = language.value === 'zh-CN' ? prior.reason.text_zh : prior.reason.text_en;
  const facts = [
    reason,
    p('pictures', { n: prior.instances }),
    bytes(prior.size_bytes),
    prior.state === 'hot' && prior.hot_at && p('ready_since', { when: distance(prior.hot_at, now) }),
  ];
  return (
    <li data-prior={prior.study_uid} data-state={prior.state}>
      <Link href={`/studies/${encodeURIComponent(prior.study_uid)}`} className="prior-link">
        <span>
          <b className="num">{calendarDate(prior.study_date)}</b>{' '}
          {[prior.modalities.join(' '), prior.description].filter(Boolean).join(' · ')}
        </span>
        <State prior={prior} isFetched={isFetched} />
        <span className="soft small">
          {facts.filter(Boolean).join(' · ')}
          {hint && <em className="faint"> {hint}</em>}
        </span>
      </Link>
    </li>
  );
}

export function Priors({ studyUid, consultationId }: { studyUid: string; consultationId: string }) {
  const now = useNow();
  const path = `/api/v1/imaging/studies/${encodeURIComponent(studyUid)}/priors`;
  const { resource, value, reload } = useResource(path, (signal) => api.get<Page>(path, { signal }), {
    on: ['consultation.changed'],
    subject: consultationId,
  });
  const turn = useRef(0);
  useEffect(() => {
    if (resource.kind === 'loading') return;
    const known = latestValue(resource);
    let pause = known === null ? growing(turn.current) : pauseAfter(known, turn.current);
    if (resource.kind === 'failed' && pause !== null) pause = mayPass(resource.problem) ? growing(turn.current) : null;
    if (pause === null) return;
    const timer = setTimeout(() => {
      turn.current += 1;
      reload();
    }, pause);
    return () => clearTimeout(timer);
  }, [resource, reload]);
  if (!value && resource.kind !== 'failed') return null;
  if (value && value.consultation_id === null) return null;
  return (
    <section className="panel" aria-labelledby="priors-title">
      <header className="panel-head">
        <h2 id="priors-title">{p('title')}</h2>
      </header>
      <div className="panel-body">
        {resource.kind === 'failed' && <ProblemNotice problem={resource.problem} onRetry={reload} />}
        {value?.items.length === 0 && <p className="soft small">{p('none')}</p>}
        {value && value.items.length > 0 && (
          <ul className="priors">
            {value.items.map((prior) => (
              <Row key={prior.study_uid} prior={prior} isFetched={value.fetching} now={now} />
            ))}
          </ul>
        )}
      </div>
    </section>
  );
}
