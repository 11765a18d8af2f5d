/** The priors that were fetched for a consultation before anybody opens them: which, why, and how far that is. */
import { useEffect, useState } from 'react';
import { Link } from 'wouter';
import { Chip, ProblemNotice, type Tone } from '@/kit';
import { api } from '@/lib/api';
import { language } from '@/lib/i18n';
import { useNow } from '@/lib/now';
import { useResource } from '@/lib/resource';
import { bytes } from '@/lib/units';
import { calendarDate, distance } from '@/lib/when';
import type { components } from '@/protocol/openapi';
import { p } from './words';

type Page = components['schemas']['PriorPage'];
type Prior = components['schemas']['PriorStudy'];

const AGAIN_MS = 5000; // no event tells of it: it is asked while something is on its way
const BOOKED_WITHIN = 3; // times that it is asked again whether priors have been chosen

function isMoving(prior: Prior): boolean {
  return prior.state === 'waiting' || prior.state === 'partly';
}

function State({ prior }: { prior: Prior }) {
  const [tone, word] = stateOf(prior);
  return (
    <Chip tone={tone} dot>
      {word}
    </Chip>
  );
}

function stateOf(prior: Prior): [Tone, string] {
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
function hintOf(prior: Prior): string | null {
  if (!prior.problem) return null;
  if (prior.problem === 'original-archived') return p('archived_text');
  return prior.problem === 'hot-tier-full' ? p('full') : p('trouble');
}

function Row({ prior, now }: { prior: Prior; now: number }) {
  const hint = hintOf(prior);
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
        <State prior={prior} />
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
  const [turns, setTurns] = useState(0);
  const isAwaited =
    value !== null && (value.consultation_id === null ? turns < BOOKED_WITHIN : value.items.some(isMoving));
  const at = resource.kind === 'ready' ? resource.at : 0;
  useEffect(() => {
    if (!isAwaited || at === 0) return;
    const timer = setTimeout(() => {
      setTurns((n) => n + 1);
      reload();
    }, AGAIN_MS);
    return () => clearTimeout(timer);
  }, [isAwaited, at, reload]);
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
              <Row key={prior.study_uid} prior={prior} now={now} />
            ))}
          </ul>
        )}
      </div>
    </section>
  );
}
