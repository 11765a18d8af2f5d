/** Consultations asked of me and by me, and the reports they lead to; overdue first. */
import { Link, useLocation } from 'wouter';
import { Button, Chip, Empty, Icon, notify, Skeleton } from '@/kit';
import { ConsultationChip, Due, ReportChip, UrgencyChip } from '@/kit/WorkChips';
import { useAction } from '@/lib/action';
import { api, withQuery } from '@/lib/api';
import { user } from '@/lib/auth';
import { t, type MessageKey } from '@/lib/i18n/app';
import { personName } from '@/lib/names';
import { useNow } from '@/lib/now';
import { useResource } from '@/lib/resource';
import { may } from '@/lib/roles';
import { reportName, unsaved } from '@/lib/unsaved';
import { openWork } from '@/lib/work';
import { distance } from '@/lib/when';
import type { Consultation, Page, Report, ReportState } from '@/protocol/types';
import { useReloadTurn } from './rows';
import { Trouble } from './Trouble';

const REPORT_STEP: Record<ReportState, MessageKey> = {
  drafting: 'work.write',
  returned: 'work.write',
  submitted: 'work.review',
  in_review: 'work.sign',
  signed: 'work.report',
  retracted: 'work.report',
};
const OPEN_REPORTS = '/api/v1/reports?state=drafting&state=returned&state=submitted&state=in_review&limit=200';

/** Whether the next step of a report is this person's. */
function waitsForMe(report: Report): boolean {
  const me = user.value?.id;
  switch (report.state) {
    case 'drafting':
    case 'returned':
      return report.author?.id === me;
    case 'submitted':
      return may('report.review') && report.author?.id !== me;
    case 'in_review':
      return may('report.sign') && report.author?.id !== me;
    case 'signed':
    case 'retracted':
      return false;
  }
}

/** The one thing to do next with a consultation, if this role may do it. */
function NextStep({ work, report, onChanged }: { work: Consultation; report: Report | null; onChanged: () => void }) {
  const [, go] = useLocation();
  const { busy, run } = useAction();
  const step = (name: 'accept' | 'start') => async () => {
    const done = await run(async () => {
      const changed = await api.post<Consultation>(`/api/v1/consultations/${encodeURIComponent(work.id)}/${name}`, {});
      if (name === 'start' && changed.room_id) go(`/rooms/${encodeURIComponent(changed.room_id)}`);
    });
    if (!done) notify(t('work.failed'), 'bad');
    onChanged();
  };
  if (work.report_id && may('report.read')) {
    const mine = report !== null && waitsForMe(report);
    return (
      <Link className={mine ? 'btn btn-primary' : 'btn'} href={`/reports/${encodeURIComponent(work.report_id)}`}>
        <Icon name={mine ? 'pen' : 'file'} />
        {t(report && mine ? REPORT_STEP[report.state] : 'work.report')}
      </Link>
    );
  }
  if (work.state === 'in_session' && work.room_id && may('room.view')) {
    return (
      <Link className="btn btn-primary" href={`/rooms/${encodeURIComponent(work.room_id)}`}>
        <Icon name="video" />
        {t('live.join')}
      </Link>
    );
  }
  if (work.state === 'requested' && may('consult.accept')) {
    return (
      <Button variant="primary" busy={busy} onClick={() => void step('accept')()}>
        {t('work.accept')}
      </Button>
    );
  }
  if (work.state === 'accepted' && may('room.host')) {
    return (
      <Button busy={busy} icon="video" onClick={() => void step('start')()}>
        {t('work.start')}
      </Button>
    );
  }
  return null;
}

function WorkRow({
  work,
  report,
  now,
  onChanged,
}: {
  work: Consultation;
  report: Report | null;
  now: number;
  onChanged: () => void;
}) {
  const name = personName(work.patient.name);
  return (
    <li className="work" data-urgency={work.urgency}>
      <Link href={`/consultations/${encodeURIComponent(work.id)}`} className="work-main" data-row>
        <span className="row">
          <UrgencyChip urgency={work.urgency} />
          {report ? <ReportChip state={report.state} /> : <ConsultationChip state={work.state} />}
          {unsaved.value.has(reportName(user.value?.id ?? '', work.report_id ?? '')) && (
            <Chip tone="warn">{t('work.unsaved')}</Chip>
          )}
          <span className="grow" />
          {work.due_at && work.state !== 'completed' && <Due at={work.due_at} now={now} />}
        </span>
        <span className="work-who">
          <strong>{name.first}</strong>
          {name.second && <span className="soft">{name.second}</span>}
        </span>
        <span className="work-question soft">{work.question}</span>
      </Link>
      <div className="row">
        <span className="faint small grow clip">
          {t(`consultation.kind.${work.kind}`)} · {work.requested_by_name} · {distance(work.requested_at, now)}
        </span>
        <NextStep work={work} report={report} onChanged={onChanged} />
      </div>
    </li>
  );
}

export function MyWork({ reloadTurn, onRequest }: { reloadTurn: number; onRequest: (() => void) | null }) {
  const now = useNow();
  const { resource, value, reload } = useResource(
    'work',
    (signal) => api.get<Page<Consultation>>(withQuery('/api/v1/consultations', { limit: 50 }), { signal }),
    { on: ['consultation.changed', 'report.changed'], remember: true },
  );
  const { value: open, reload: reloadReports } = useResource(
    may('report.read') ? OPEN_REPORTS : null,
    (signal) => api.get<Page<Report>>(OPEN_REPORTS, { signal }),
    { on: ['report.changed'], remember: true },
  );
  const reports = new Map((open?.items ?? []).map((report) => [report.id, report]));
  useReloadTurn(reloadTurn, reload);
  useReloadTurn(reloadTurn, reloadReports);
  const work = openWork(value?.items ?? [], now);
  return (
    <section className="panel work-panel" aria-labelledby="work-title">
      <header className="panel-head">
        <h2 id="work-title">{t('work.title')}</h2>
        {value && <span className="count num">{work.length}</span>}
        <span className="grow" />
        {onRequest && (
          <Button variant="primary" icon="plus" onClick={onRequest}>
            {t('work.request')}
          </Button>
        )}
      </header>
      {resource.kind === 'failed' && (
        <div className="panel-note">
          <Trouble resource={resource} onRetry={reload} />
        </div>
      )}
      {!value && resource.kind === 'loading' && (
        <ul className="work-list" aria-busy="true" aria-label={t('state.loading')}>
          {[0, 1, 2, 3].map((n) => (
            <li key={n} className="work">
              <Skeleton share={45} />
              <Skeleton share={60} />
              <Skeleton share={90} />
            </li>
          ))}
        </ul>
      )}
      {value && work.length > 0 && (
        <ul className="work-list">
          {work.map((entry) => (
            <WorkRow
              key={entry.id}
              work={entry}
              report={reports.get(entry.report_id ?? '') ?? null}
              now={now}
              onChanged={reload}
            />
          ))}
        </ul>
      )}
      {value && work.length === 0 && (
        <Empty icon="check" title={t('work.empty')}>
          {t(onRequest ? 'work.empty.request' : 'work.empty.text')}
        </Empty>
      )}
    </section>
  );
}
