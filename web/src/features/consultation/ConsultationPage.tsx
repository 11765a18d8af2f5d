/** One consultation: whose, what is asked, where it stands, what happened, and what can be done next. */
import { Link } from 'wouter';
import { Icon, PatientBanner, ProblemNotice, Skeleton } from '@/kit';
import { ConsultationChip, consultationWord, Due, UrgencyChip } from '@/kit/WorkChips';
import { api, withQuery } from '@/lib/api';
import { t } from '@/lib/i18n/app';
import { useNow } from '@/lib/now';
import { useResource } from '@/lib/resource';
import { may } from '@/lib/roles';
import { dateTime, distance } from '@/lib/when';
import type { Consultation, HistoryEntry } from '@/protocol/types';
import { Actions } from './Actions';
import { Priors } from './Priors';
import './consultation.css';

const LINE = ['requested', 'accepted', 'in_session', 'reporting', 'completed'] as const;
const OVER = new Set(['completed', 'closed', 'cancelled', 'rejected']);

/** The straight way through a consultation, with where it stands now. */
function Progress({ work }: { work: Consultation }) {
  const at = LINE.findIndex((state) => state === work.state);
  if (at === -1) return null;
  const steps = LINE.filter((state) => state !== 'in_session' || work.kind === 'live' || work.state === 'in_session');
  const here = steps.findIndex((state) => state === work.state);
  return (
    <ol className="progress" aria-label={t('consultation.progress')}>
      {steps.map((state, n) => (
        <li key={state} data-done={n < here || undefined} aria-current={n === here ? 'step' : undefined}>
          <span className="bead">{n < here ? <Icon name="check" /> : n + 1}</span>
          {consultationWord(state)}
        </li>
      ))}
    </ol>
  );
}

function History({ entries }: { entries: readonly HistoryEntry[] }) {
  return (
    <ol className="history">
      {entries.toReversed().map((entry) => (
        <li key={`${entry.at}${entry.to}`}>
          <strong>{consultationWord(entry.to)}</strong>
          <span className="soft small">
            {entry.by_name} · <time dateTime={entry.at}>{dateTime(entry.at)}</time>
          </span>
          {entry.reason && <q className="small">{entry.reason}</q>}
        </li>
      ))}
    </ol>
  );
}

function Facts({ work, now }: { work: Consultation; now: number }) {
  return (
    <dl className="facts">
      <div>
        <dt>{t('consultation.requested_by')}</dt>
        <dd>
          {work.requested_by_name} <span className="faint">{distance(work.requested_at, now)}</span>
        </dd>
      </div>
      <div>
        <dt>{t('consultation.accepted_by')}</dt>
        <dd>{work.accepted_by_name ?? <span className="faint">{t('consultation.nobody')}</span>}</dd>
      </div>
      <div>
        <dt>{t('request.kind')}</dt>
        <dd>{t(`consultation.kind.${work.kind}`)}</dd>
      </div>
      {work.accession_number && (
        <div>
          <dt>{t('patient.accession')}</dt>
          <dd className="num">{work.accession_number}</dd>
        </div>
      )}
    </dl>
  );
}

/**
 * Whether the archive has the study: a live request fixes the study's UID before its first picture is stored.
 * Null while it is not known, also when the archive does not answer.
 */
function useArchived(studyUid: string | null): boolean | null {
  const { value } = useResource(
    studyUid && `archived ${studyUid}`,
    async (signal) => {
      const path = withQuery('/dicomweb/studies', { StudyInstanceUID: studyUid, limit: 1 });
      const rows = await api.get<unknown[] | null>(path, { signal, headers: { accept: 'application/dicom+json' } });
      return (rows ?? []).length > 0;
    },
    { on: ['instance.stored'], known: ({ data }) => data['study_uid'] !== studyUid },
  );
  return value;
}

function LinkedPlaces({ work }: { work: Consultation }) {
  const archived = useArchived(may('study.read') ? (work.study_uid ?? null) : null);
  return (
    <div className="row">
      {work.study_uid && archived && (
        <Link className="btn" href={`/studies/${encodeURIComponent(work.study_uid)}`}>
          <Icon name="image" />
          {t('consultation.open_study')}
        </Link>
      )}
      {archived === false && <span className="faint small">{t('consultation.no_study')}</span>}
      {work.report_id && may('report.read') && (
        <Link className="btn" href={`/reports/${encodeURIComponent(work.report_id)}`}>
          <Icon name="file" />
          {t('consultation.open_report')}
        </Link>
      )}
      {work.room_id && work.state === 'in_session' && may('room.view') && (
        <Link className="btn btn-primary" href={`/rooms/${encodeURIComponent(work.room_id)}`}>
          <Icon name="video" />
          {t('live.join')}
        </Link>
      )}
    </div>
  );
}

function Body({ work, onChanged }: { work: Consultation; onChanged: (work: Consultation | null) => void }) {
  const now = useNow();
  return (
    <>
      <PatientBanner patient={work.patient} accession={work.accession_number} />
      <div className="consultation-split">
        <section className="panel" aria-labelledby="question-title">
          <header className="panel-head">
            <UrgencyChip urgency={work.urgency} />
            <ConsultationChip state={work.state} />
            <span className="grow" />
            {work.due_at && !OVER.has(work.state) && <Due at={work.due_at} now={now} />}
          </header>
          <div className="panel-body stack">
            <h1 id="question-title" className="sr-only">
              {t('consultation.title')}
            </h1>
            <h2 className="label">{t('request.question')}</h2>
            <p className="question">{work.question}</p>
            <Progress work={work} />
            <Facts work={work} now={now} />
            <LinkedPlaces work={work} />
            <Actions work={work} onChanged={onChanged} />
          </div>
        </section>
        <div className="stack">
          {work.study_uid && may('study.read') && <Priors studyUid={work.study_uid} consultationId={work.id} />}
          <section className="panel" aria-labelledby="history-title">
            <header className="panel-head">
              <h2 id="history-title">{t('consultation.history')}</h2>
            </header>
            <div className="panel-body">
              <History entries={work.history ?? []} />
            </div>
          </section>
        </div>
      </div>
    </>
  );
}

export default function ConsultationPage({ id }: { id: string }) {
  const path = `/api/v1/consultations/${encodeURIComponent(id)}`;
  const { resource, value, reload, set } = useResource(path, (signal) => api.get<Consultation>(path, { signal }), {
    on: ['consultation.changed'],
    subject: id,
  });
  return (
    <div className="page consultation">
      <Link href="/" className="back soft small">
        <Icon name="back" />
        {t('nav.home')}
      </Link>
      {resource.kind === 'failed' && <ProblemNotice problem={resource.problem} onRetry={reload} />}
      {value && <Body work={value} onChanged={(changed) => (changed ? set(changed) : reload())} />}
      {!value && resource.kind === 'loading' && (
        <div className="stack" aria-busy="true" aria-label={t('state.loading')}>
          <Skeleton share={60} />
          <Skeleton share={100} />
          <Skeleton share={80} />
        </div>
      )}
    </div>
  );
}
